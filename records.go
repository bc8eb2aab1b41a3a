package parley

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// Prekeys: how long they are offered and kept, and how many are out at a time.
const (
	prekeyRotation = 7 * 24 * time.Hour
	prekeyLifetime = 30 * 24 * time.Hour // of the private halves
	bundleLifetime = 14 * 24 * time.Hour
	maxOneTime     = 100  // one-time prekeys handed out and not used yet; and key packages
	maxRecords     = 1024 // records kept for others
	publishEvery   = time.Hour
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
	for _, scope := range s.Scopes("prekeys:") {
		var n int
		if err := s.QueryRow(`SELECT COUNT(*) FROM prekeys WHERE scope = ?`, scope).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
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
	scope := fmt.Sprintf("prekeys:%d", s.now.Unix()/int64(prekeyRotation/time.Second))
	if !s.HasScope(scope) {
		if err := s.CreateScope(scope); err != nil {
			return p, err
		}
	}
	r, err := s.Exec(`INSERT INTO prekeys (kind, scope, public, ref, sealed, created, expires) VALUES (?, ?, ?, ?, x'', ?, ?)`,
		kind, scope, p.public, ref, s.unixMilli(), s.now.Add(prekeyLifetime).UnixMilli())
	if err != nil {
		return p, err
	}
	p.id = uint32(r.LastInsertID)
	sealed, err := s.SealKey(scope, prekeyPlace(p.id), p.private)
	if err != nil {
		return p, err
	}
	_, err = s.Exec(`UPDATE prekeys SET sealed = ? WHERE id = ?`, sealed, p.id)
	return p, err
}

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

// credential and signer are what the device is in groups.
func (c *Client) credential() groups.Credential {
	return groups.EthereumCredential([groups.AcctSize]byte(c.me.account.Bytes()), c.me.link)
}

func (c *Client) signer() suite.SigningKey { return suite.Secp256k1SigningKey(c.me.device.Signing) }

// ownRecord makes a new record of this device. One for a peer who asked has
// one-time keys; one for others to keep has none, since all who fetch it would
// use the same.
func (s *step) ownRecord(oneTime bool) ([]byte, error) {
	signed, err := s.offered(prekeySigned)
	if err != nil {
		return nil, err
	}
	kem, err := s.offered(prekeyKEM)
	if err != nil {
		return nil, err
	}
	b := &identity.Bundle{
		Account: s.c.me.account, Link: s.c.me.link, InboxKey: s.c.me.inbox,
		Expiry:    uint64(s.now.Add(bundleLifetime).Unix()),
		Prekey:    identity.Prekey{ID: signed.id, Key: [secp.PublicKeySize]byte(signed.public)},
		KEMPrekey: identity.KEMPrekey{ID: kem.id, Key: [identity.KEMKeySize]byte(kem.public)},
		Addrs:     s.c.bundleAddrs(),
	}
	if b.Seq, err = s.count(metaBundleSeq); err != nil {
		return nil, err
	}
	kind := prekeyLastResort
	if oneTime {
		var out, packages int
		if err := s.QueryRow(`SELECT COUNT(*) FILTER (WHERE kind = ?), COUNT(*) FILTER (WHERE kind = ?) FROM prekeys`,
			prekeyOneTime, prekeyPackage).Scan(&out, &packages); err != nil {
			return nil, err
		}
		if out < maxOneTime {
			opk, err := s.newPrekey(prekeyOneTime)
			if err != nil {
				return nil, err
			}
			b.OneTime = []identity.Prekey{{ID: opk.id, Key: [secp.PublicKeySize]byte(opk.public)}}
		}
		if packages < maxOneTime {
			kind = prekeyPackage
		}
	}
	var kp prekey
	if kind == prekeyPackage {
		kp, err = s.newPrekey(kind)
	} else {
		kp, err = s.offered(kind)
	}
	if err != nil {
		return nil, err
	}
	b.KeyPackages = [][]byte{kp.public}
	if err := identity.SignBundle(b, s.c.me.device); err != nil {
		return nil, err
	}
	return identity.MarshalRecord(s.c.me.log, b), nil
}

// bundleAddrs is where the node says it can be reached.
func (c *Client) bundleAddrs() []string {
	if c.node == nil {
		return nil
	}
	var addrs []string
	for _, a := range c.node.Addrs() {
		if len(a) <= identity.MaxMultiaddrSize && len(addrs) < identity.MaxMultiaddrs {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// count returns the next value of a counter in the meta table, from 1.
func (s *step) count(key string) (uint64, error) {
	var b []byte
	err := s.QueryRow(`SELECT value FROM meta WHERE key = ?`, key).Scan(&b)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return 0, err
	}
	var n uint64
	if len(b) == 8 {
		n = binary.BigEndian.Uint64(b)
	}
	n++
	_, err = s.Exec(`INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`, key, binary.BigEndian.AppendUint64(nil, n))
	return n, err
}

// serveRecord answers who asks this node for a record: the own one, made for
// the asker, or one that is kept for others.
func (c *Client) serveRecord(ctx context.Context, _ peer.ID, key [32]byte) ([]byte, bool) {
	select {
	case <-c.ready: // the record tells the node's addresses
	case <-ctx.Done():
		return nil, false
	}
	var record []byte
	var err error
	if key == c.me.account.LookupKey() {
		err = c.step(ctx, func(s *step) (err error) {
			record, err = s.ownRecord(true)
			return err
		})
	} else {
		err = c.view(ctx, func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT record FROM records WHERE lookup = ? AND expires > ?`, key, time.Now().UnixMilli()).Scan(&record)
		})
	}
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		c.log.Error("serve record", "err", err)
	}
	return record, err == nil
}

var errNotKept = errors.New("parley: record is not kept")

// keepRecord takes a record that a peer wants kept for others, if it proves
// itself, is newer than the one that is kept, and holds nothing to be used once.
func (c *Client) keepRecord(ctx context.Context, _ peer.ID, key [32]byte, b []byte) error {
	account, err := recordAccount(b)
	if err != nil {
		return err
	}
	if account.LookupKey() != key || account == c.me.account {
		return errNotKept
	}
	r, err := identity.VerifyRecord(b, account, time.Now())
	if err != nil {
		return err
	}
	if len(r.Bundle.OneTime) > 0 {
		return errNotKept
	}
	return c.step(ctx, func(s *step) error {
		var seq uint64
		err := s.QueryRow(`SELECT seq FROM records WHERE lookup = ?`, key).Scan(&seq)
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return err
		}
		if err == nil && seq >= r.Bundle.Seq {
			return errNotKept
		}
		known, err := readLog(s.Tx, account)
		if err != nil {
			return err
		}
		if known != nil { // a contact: news of its devices concern this client too
			if err := s.learn(r); err != nil {
				return err
			}
		}
		if _, err := s.Exec(`INSERT OR REPLACE INTO records (lookup, acct, seq, expires, record, stored) VALUES (?, ?, ?, ?, ?, ?)`,
			key, account.Bytes(), r.Bundle.Seq, int64(r.Bundle.Expiry)*1000, b, s.unixMilli()); err != nil {
			return err
		}
		_, err = s.Exec(`DELETE FROM records WHERE lookup IN (SELECT lookup FROM records
			ORDER BY acct IN (SELECT acct FROM accounts) DESC, stored DESC LIMIT -1 OFFSET ?)`, maxRecords) // strangers' go first
		return err
	})
}

// recordAccount reads whose record it is, to verify it as such.
func recordAccount(b []byte) (identity.Account, error) {
	r := wire.NewReader(b)
	log := r.LP(identity.MaxLogSize)
	if err := r.Err(); err != nil {
		return identity.Account{}, fmt.Errorf("%w: %w", identity.ErrRecord, err)
	}
	l, err := identity.ParseLog(log)
	if err != nil {
		return identity.Account{}, err
	}
	return l.Account(), nil
}

// publishRecordLoop leaves a record with every entrusted peer that comes, and
// with all of them now and then, so that the account is found while its node is
// away, and by those who share a bootstrap peer with it.
func (c *Client) publishRecordLoop(ctx context.Context) {
	ticker := time.NewTicker(publishEvery)
	defer ticker.Stop()
	for {
		c.publishRecord(ctx, c.node.Peers()...)
		select {
		case <-ctx.Done():
			return
		case <-c.wakePublish:
		case <-ticker.C:
			clear(c.published)
		}
	}
}

// publishRecord gives the record to those who have not got it. Only
// publishRecordLoop calls it.
func (c *Client) publishRecord(ctx context.Context, to ...peer.ID) {
	to = slices.DeleteFunc(to, func(id peer.ID) bool { return c.published[id] || !c.isEntrusted(id) })
	if len(to) == 0 {
		return
	}
	var record []byte
	err := c.step(ctx, func(s *step) (err error) {
		record, err = s.ownRecord(false)
		return err
	})
	if err != nil {
		c.log.Error("own record", "err", err)
		return
	}
	errs := make([]error, len(to))
	var some errgroup.Group // one that is slow does not keep others from it
	some.SetLimit(fetchParallel)
	for i, id := range to {
		some.Go(func() error {
			putCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
			defer cancel()
			errs[i] = c.node.StoreRecord(putCtx, id, c.me.account.LookupKey(), record)
			return nil
		})
	}
	_ = some.Wait() // each error is in errs
	for i, id := range to {
		// A peer that refuses is not asked again; one that was busy is.
		c.published[id] = errs[i] == nil || errors.Is(errs[i], transport.ErrRefused)
		if errs[i] != nil {
			c.log.Debug("peer does not keep the record", "err", errs[i])
		}
	}
}
