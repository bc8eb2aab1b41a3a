package parley

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
)

// Prekeys: how long they are offered and kept, and how many are handed out.
const (
	prekeyRotation = 7 * 24 * time.Hour
	prekeyLifetime = 30 * 24 * time.Hour // of the private halves
	// maxOneTime bounds the one-time prekeys that were handed out within
	// oneTimeEvery and are not used yet, and the key packages; maxOneTimeEach is
	// for one peer.
	maxOneTime     = 100
	maxOneTimeEach = 10
	oneTimeEvery   = 24 * time.Hour
	// prekeyScopes begins the scopes of all: prekeys:<week> of those that serve
	// many times, prekey:<id> of each that serves once.
	prekeyScopes = "prekey"
)

// Kinds of prekeys, as the database has them.
const (
	prekeySigned     = 1
	prekeyKEM        = 2
	prekeyOneTime    = 3
	prekeyPackage    = 4
	prekeyLastResort = 5
)

// loadPrekeys deletes what has expired, with the keys of its scope, and makes
// sure that there is something to offer.
func (s *step) loadPrekeys() error {
	if _, err := s.Exec(`DELETE FROM prekeys WHERE expires <= ?`, s.unixMilli()); err != nil {
		return err
	}
	rows, err := s.Query(`SELECT DISTINCT scope FROM prekeys`)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for rows.Next() {
		var scope string
		if err := rows.Scan(&scope); err != nil {
			return err
		}
		used[scope] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, scope := range s.Scopes(prekeyScopes) {
		if !used[scope] {
			if err := s.DropScope(scope); err != nil {
				return err
			}
		}
	}
	for _, kind := range []int{prekeySigned, prekeyKEM, prekeyLastResort} {
		if _, err := s.offered(kind); err != nil {
			return err
		}
	}
	return nil
}

// prekey is a row of the prekeys table.
type prekey struct {
	id      uint32
	public  []byte
	private secret.Key
}

// offered returns the prekey of a reusable kind that is offered now, which is
// a new one when the last is older than prekeyRotation.
func (s *step) offered(kind int) (prekey, error) {
	var id uint32
	err := s.QueryRow(`SELECT id FROM prekeys WHERE kind = ? AND created > ? ORDER BY id DESC LIMIT 1`, kind, s.now.Add(-prekeyRotation).UnixMilli()).Scan(&id)
	if errors.Is(err, store.ErrNoRows) {
		return s.newPrekey(kind)
	}
	if err != nil {
		return prekey{}, err
	}
	return s.prekey(id, kind)
}

// newPrekey makes a prekey and stores its private half.
func (s *step) newPrekey(kind int) (p prekey, err error) {
	var ref []byte
	switch kind {
	case prekeySigned, prekeyOneTime:
		key, err := secp.GenerateKey()
		if err != nil {
			return p, err
		}
		p.public, p.private = key.PublicKey().Bytes(), key.Bytes()
	case prekeyKEM:
		key, err := ratchet.GenerateKEMKey()
		if err != nil {
			return p, err
		}
		p.public, p.private = key.Public(), key.Bytes()
	case prekeyPackage, prekeyLastResort:
		kp, private, err := groups.NewKeyPackage(groups.KeyPackageOptions{
			Credential: s.c.credential(), Signer: s.c.signer(), LastResort: kind == prekeyLastResort,
			NotBefore: s.now.Add(-identity.ClockSkew), NotAfter: s.now.Add(prekeyLifetime),
		})
		if err != nil {
			return p, err
		}
		p.public, p.private, ref = kp.Marshal(), private.Marshal(), kp.Ref()
	}
	r, err := s.Exec(`INSERT INTO prekeys (kind, scope, public, ref, sealed, created, expires) VALUES (?, '', ?, ?, x'', ?, ?)`,
		kind, p.public, ref, s.unixMilli(), s.now.Add(prekeyLifetime).UnixMilli())
	if err != nil {
		return p, err
	}
	p.id = uint32(r.LastInsertID)
	scope := fmt.Sprintf(prekeyScopes+"s:%d", s.now.Unix()/int64(prekeyRotation/time.Second))
	if kind == prekeyOneTime || kind == prekeyPackage {
		scope = oneTimeScope(p.id)
	}
	if !s.HasScope(scope) {
		if err := s.CreateScope(scope); err != nil {
			return p, err
		}
	}
	sealed, err := s.SealKey(scope, prekeyPlace(p.id), p.private)
	if err != nil {
		return p, err
	}
	_, err = s.Exec(`UPDATE prekeys SET scope = ?, sealed = ? WHERE id = ?`, scope, sealed, p.id)
	return p, err
}

// usePrekey deletes a one-time prekey, or key package, that has served, and the
// key it was sealed under: a deleted row lives on in the database's free pages.
func (s *step) usePrekey(id uint32) error {
	if _, err := s.Exec(`DELETE FROM prekeys WHERE id = ?`, id); err != nil {
		return err
	}
	if scope := oneTimeScope(id); s.HasScope(scope) {
		return s.DropScope(scope)
	}
	return nil
}

// oneTime makes a one-time prekey and a key package for a peer who asks. When
// there is none for it, the prekey is nil and the key package that of last
// resort.
func (s *step) oneTime(asker peer.ID) (opk *prekey, kp prekey, err error) {
	if s.now.Sub(s.c.handedSince) >= oneTimeEvery {
		s.c.handedSince, s.c.handed = s.now, map[peer.ID]int{}
	}
	kind := prekeyLastResort
	if asker != "" && s.c.handed[asker] < maxOneTimeEach {
		var out, packages int
		if err := s.QueryRow(`SELECT COUNT(*) FILTER (WHERE kind = ?), COUNT(*) FILTER (WHERE kind = ?) FROM prekeys WHERE created > ?`,
			prekeyOneTime, prekeyPackage, s.now.Add(-oneTimeEvery).UnixMilli()).Scan(&out, &packages); err != nil {
			return nil, kp, err
		}
		if out < maxOneTime {
			made, err := s.newPrekey(prekeyOneTime)
			if err != nil {
				return nil, kp, err
			}
			opk = &made
		}
		if packages < maxOneTime {
			kind = prekeyPackage
		}
		if opk != nil || kind == prekeyPackage {
			s.then(func() { s.c.handed[asker]++ })
		}
	}
	if kind == prekeyPackage {
		kp, err = s.newPrekey(kind)
	} else {
		kp, err = s.offered(kind)
	}
	return opk, kp, err
}

func oneTimeScope(id uint32) string { return fmt.Sprintf(prekeyScopes+":%d", id) }

func prekeyPlace(id uint32) string { return fmt.Sprintf("prekeys/%d", id) }

func (s *step) prekey(id uint32, kind int) (prekey, error) {
	p := prekey{id: id}
	var scope string
	var sealed []byte
	err := s.QueryRow(`SELECT scope, public, sealed FROM prekeys WHERE id = ? AND kind = ?`, id, kind).Scan(&scope, &p.public, &sealed)
	if err != nil {
		return p, err
	}
	p.private, err = s.UnsealKey(scope, prekeyPlace(id), sealed)
	return p, err
}

func (s *step) prekeyScalar(id uint32, kind int) (*secp.PrivateKey, error) {
	p, err := s.prekey(id, kind)
	if err != nil {
		return nil, err
	}
	defer p.private.Erase()
	return secp.NewPrivateKey(p.private.Bytes())
}

// SignedPrekey, OneTimePrekey and KEMKey are ratchet.Prekeys.
func (s *step) SignedPrekey(id uint32) (*secp.PrivateKey, error) {
	return s.prekeyScalar(id, prekeySigned)
}

func (s *step) OneTimePrekey(id uint32) (*secp.PrivateKey, error) {
	return s.prekeyScalar(id, prekeyOneTime)
}

func (s *step) KEMKey(id uint32) (*ratchet.KEMKey, error) {
	p, err := s.prekey(id, prekeyKEM)
	if err != nil {
		return nil, err
	}
	defer p.private.Erase()
	return ratchet.NewKEMKey(p.private.Bytes())
}
