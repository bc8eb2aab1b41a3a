package store

import (
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// SealOverhead is what [Tx.Seal] adds to a plaintext, in bytes: nonce and tag.
const SealOverhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// CreateScope makes a key for a scope. The key is in the keyring, on disk,
// before the transaction commits, and usable in this transaction at once. Names
// are 1 to 255 bytes. A scope that exists, or was dropped in this very
// transaction, gives [ErrScopeExists].
func (tx *Tx) CreateScope(scope string) error {
	if !tx.write {
		return ErrReadOnly
	}
	if scope == "" || len(scope) > MaxScopeName {
		return fmt.Errorf("store: scope name of %d bytes", len(scope))
	}
	if tx.dropped[scope] {
		return fmt.Errorf("%w: it was dropped in this transaction", ErrScopeExists)
	}
	res, err := tx.Exec("INSERT INTO store_scope (name) VALUES (?) ON CONFLICT DO NOTHING", scope)
	if err != nil {
		return err
	}
	// After a rollback there can be keys without rows, and rows without keys:
	// both are replaced.
	if res.RowsAffected == 0 && tx.HasScope(scope) {
		return ErrScopeExists
	}
	if tx.created == nil {
		tx.created = map[string]secret.Key{}
	}
	tx.created[scope] = secret.Random(scopeKeySize)
	return nil
}

// DropScope forgets the key of a scope: when Update returns, it is neither in
// memory nor in the keyring, and nothing sealed under it opens again, in
// whatever copy of the database. If the transaction does not commit, the scope
// stays. A scope that does not exist gives [ErrNoScope].
func (tx *Tx) DropScope(scope string) error {
	if !tx.write {
		return ErrReadOnly
	}
	had := tx.HasScope(scope)
	res, err := tx.Exec("DELETE FROM store_scope WHERE name = ?", scope)
	if err != nil {
		return err
	}
	if !had && res.RowsAffected == 0 {
		return ErrNoScope
	}
	if key, ok := tx.created[scope]; ok {
		key.Erase()
		delete(tx.created, scope)
	}
	if tx.s.hasKey(scope) {
		if tx.dropped == nil {
			tx.dropped = map[string]bool{}
		}
		tx.dropped[scope] = true
	}
	return nil
}

// HasScope reports whether the scope has a key.
func (tx *Tx) HasScope(scope string) bool {
	if _, ok := tx.created[scope]; ok {
		return true
	}
	return !tx.dropped[scope] && tx.s.hasKey(scope)
}

// Scopes lists the scopes whose names begin with prefix, sorted.
func (tx *Tx) Scopes(prefix string) []string {
	tx.s.mu.RLock()
	all := maps.Clone(tx.s.ring.scopes)
	tx.s.mu.RUnlock()
	maps.Copy(all, tx.created)
	var names []string
	for name := range all {
		if strings.HasPrefix(name, prefix) && !tx.dropped[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Seal encrypts and authenticates plaintext under the key of the scope, bound to
// the scope and to place, which names where the value will live: table, column
// and row, for example "session.state/7". The result is [SealOverhead] bytes
// longer.
func (tx *Tx) Seal(scope, place string, plaintext []byte) ([]byte, error) {
	aead, err := tx.aead(scope)
	if err != nil {
		return nil, err
	}
	b := make([]byte, chacha20poly1305.NonceSizeX, SealOverhead+len(plaintext))
	rand.Read(b)
	return aead.Seal(b, b, plaintext, sealAD(scope, place)), nil
}

// Unseal opens what Seal made for this very scope and place. Anything else gives
// [ErrSealed], a dropped scope [ErrNoScope]. The caller owns the result.
func (tx *Tx) Unseal(scope, place string, sealed []byte) ([]byte, error) {
	aead, err := tx.aead(scope)
	if err != nil {
		return nil, err
	}
	if len(sealed) < SealOverhead {
		return nil, ErrSealed
	}
	const n = chacha20poly1305.NonceSizeX
	plain, err := aead.Open(make([]byte, 0, len(sealed)-SealOverhead), sealed[:n], sealed[n:], sealAD(scope, place))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// SealKey is Seal for a key.
func (tx *Tx) SealKey(scope, place string, key secret.Key) ([]byte, error) {
	return tx.Seal(scope, place, key.Bytes())
}

// UnsealKey is Unseal for a key.
func (tx *Tx) UnsealKey(scope, place string, sealed []byte) (secret.Key, error) {
	b, err := tx.Unseal(scope, place, sealed)
	if err != nil {
		return secret.Key{}, err
	}
	return secret.New(b), nil
}

// aead returns the cipher of a scope as this transaction sees it.
func (tx *Tx) aead(scope string) (cipher.AEAD, error) {
	if tx.ended != nil {
		return nil, tx.ended
	}
	if key, ok := tx.created[scope]; ok {
		return chacha20poly1305.NewX(key.Bytes())
	}
	if tx.dropped[scope] {
		return nil, ErrNoScope
	}
	// The cipher copies the key, so it may be made only while nobody erases.
	tx.s.mu.RLock()
	defer tx.s.mu.RUnlock()
	key, ok := tx.s.ring.scopes[scope]
	if !ok {
		return nil, ErrNoScope
	}
	return chacha20poly1305.NewX(key.Bytes())
}

// sealAD is LP("parley/1 seal") || LP(scope) || LP(place).
func sealAD(scope, place string) []byte {
	const label = "parley/1 seal"
	b := make([]byte, 0, 12+len(label)+len(scope)+len(place))
	b = wire.AppendLP(b, []byte(label))
	b = wire.AppendLP(b, []byte(scope))
	return wire.AppendLP(b, []byte(place))
}

func (s *Store) hasKey(scope string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ring.scopes[scope]
	return ok
}
