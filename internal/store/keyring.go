package store

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

const (
	keyringMagic   = "parleykr"
	keyringVersion = 1
	keyringHeader  = len(keyringMagic) + 1
	scopeKeySize   = chacha20poly1305.KeySize
)

// keyring is the content of the file "keyring": every key of the profile but the
// root key. It is never changed in place: a new value replaces it together with
// the file.
type keyring struct {
	// seq counts the writes of the file. The database remembers the seq it was
	// committed with, and so knows a keyring that is older than itself.
	seq uint64
	// floor is a generation that the database had committed when the file was
	// written. A database below it is an older copy.
	floor uint64
	// dbKey encrypts the pages of the database.
	dbKey  secret.Key
	scopes map[string]secret.Key
}

func (k *keyring) marshal() []byte {
	// One buffer that does not grow, so that no copy of the keys stays behind.
	size := 8 + 8 + scopeKeySize + 4
	for name := range k.scopes {
		size += 2 + len(name) + scopeKeySize
	}
	b := wire.AppendUint64(make([]byte, 0, size), k.seq)
	b = wire.AppendUint64(b, k.floor)
	b = append(b, k.dbKey.Bytes()...)
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, name := range slices.Sorted(maps.Keys(k.scopes)) {
			b = wire.AppendVec(b, []byte(name))
			b = append(b, k.scopes[name].Bytes()...)
		}
		return b
	})
}

// parseKeyring decodes what marshal encodes: names ascending, none twice.
func parseKeyring(b []byte) (*keyring, error) {
	r := wire.NewReader(b)
	k := &keyring{seq: r.Uint64(), floor: r.Uint64(), scopes: map[string]secret.Key{}}
	k.dbKey = secret.Copy(r.Bytes(scopeKeySize))
	last, sub := "", r.Sub()
	for sub.More() {
		name := string(sub.VecMax(MaxScopeName))
		key := sub.Bytes(scopeKeySize)
		if sub.Err() != nil {
			break
		}
		if name <= last {
			sub.Fail(wire.ErrValue)
			break
		}
		last = name
		k.scopes[name] = secret.Copy(key)
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", ErrCorrupt, err)
	}
	return k, nil
}

// seal encrypts the keyring into the form of its file.
func (k *keyring) seal(key secret.Key) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key.Bytes())
	if err != nil {
		return nil, err
	}
	plain := k.marshal()
	defer clear(plain)
	b := make([]byte, keyringHeader+chacha20poly1305.NonceSizeX, keyringHeader+chacha20poly1305.NonceSizeX+len(plain)+aead.Overhead())
	copy(b, keyringMagic)
	b[len(keyringMagic)] = keyringVersion
	nonce := b[keyringHeader:]
	rand.Read(nonce)
	return aead.Seal(b, nonce, plain, b[:keyringHeader]), nil
}

// openKeyring reads the form of the file.
func openKeyring(b []byte, key secret.Key) (*keyring, error) {
	if len(b) < keyringHeader+chacha20poly1305.NonceSizeX || string(b[:len(keyringMagic)]) != keyringMagic {
		return nil, fmt.Errorf("%w: keyring is not one", ErrCorrupt)
	}
	if v := b[len(keyringMagic)]; v > keyringVersion {
		return nil, fmt.Errorf("%w: keyring %d", ErrVersion, v)
	}
	aead, err := chacha20poly1305.NewX(key.Bytes())
	if err != nil {
		return nil, err
	}
	sealed := b[keyringHeader+chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, b[keyringHeader:keyringHeader+chacha20poly1305.NonceSizeX], sealed, b[:keyringHeader])
	if err != nil {
		return nil, fmt.Errorf("%w: keyring does not open", ErrCorrupt)
	}
	defer clear(plain)
	return parseKeyring(plain)
}

// erase destroys every key.
func (k *keyring) erase() {
	k.dbKey.Erase()
	for _, key := range k.scopes {
		key.Erase()
	}
	clear(k.scopes)
}
