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
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/transport"
)

const (
	bundleLifetime = 14 * 24 * time.Hour
	maxRecords     = 1024 // records kept for others
	publishEvery   = time.Hour
)

// credential and signer are what the device is in groups.
func (c *Client) credential() groups.Credential {
	return groups.EthereumCredential([groups.AcctSize]byte(c.me.account.Bytes()), c.me.link)
}

func (c *Client) signer() suite.SigningKey { return suite.Secp256k1SigningKey(c.me.device.Signing) }

// ownRecord makes a new record of this device. One for a peer who asked has
// one-time keys, as far as there are any for it; one for others to keep, for no
// peer, has none, since all who fetch it would use the same.
func (s *step) ownRecord(asker peer.ID) ([]byte, error) {
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
	if b.Seq, err = s.bundleSeq(); err != nil {
		return nil, err
	}
	opk, kp, err := s.oneTime(asker)
	if err != nil {
		return nil, err
	}
	if opk != nil {
		b.OneTime = []identity.Prekey{{ID: opk.id, Key: [secp.PublicKeySize]byte(opk.public)}}
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

// bundleSeq numbers the next bundle. Numbers follow the clock, so that they do not
// go back when the profile is put back to an earlier state: others keep the
// bundle with the highest.
func (s *step) bundleSeq() (uint64, error) {
	var b []byte
	err := s.QueryRow(`SELECT value FROM meta WHERE key = ?`, metaBundleSeq).Scan(&b)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return 0, err
	}
	n := uint64(s.unixMilli())
	if len(b) == 8 {
		n = max(n, binary.BigEndian.Uint64(b)+1)
	}
	_, err = s.Exec(`INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`, metaBundleSeq, binary.BigEndian.AppendUint64(nil, n))
	return n, err
}

// serveRecord answers who asks this node for a record: the own one, made for
// the asker, or one that is kept for others.
func (c *Client) serveRecord(ctx context.Context, asker peer.ID, key [32]byte) ([]byte, bool) {
	select {
	case <-c.ready: // the record tells the node's addresses
	case <-ctx.Done():
		return nil, false
	}
	var record []byte
	var err error
	if key == c.me.account.LookupKey() {
		err = c.step(ctx, func(s *step) (err error) {
			record, err = s.ownRecord(asker)
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
		record, err = s.ownRecord("")
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
