package parley

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

// Limits on looking for other people's records.
const (
	fetchParallel = 32               // peers asked at a time
	fetchTimeout  = 5 * time.Second  // for one peer
	fetchBackoff  = 2 * time.Second  // after the first failure, then doubled
	fetchSlowest  = time.Minute      // longest time between two tries
	fetchPatience = 15 * time.Second // for what a person waits for
	fetchPause    = 300 * time.Millisecond
	fetchGrace    = time.Second      // for other answers, after the first
	fetchFresh    = 10 * time.Minute // how long a record serves to begin a session
	wantParallel  = 8                // accounts looked for at a time
	keepMax       = 256              // contacts whose nodes are dialled
)

func peerIDOf(d *identity.Device) string {
	id, err := transport.PeerIDOf(d.Host.PublicKey().Bytes())
	if err != nil {
		panic(err) // a key of ours is a point
	}
	return id.String()
}

// resolve finds the account that a person means, and pins names to what they
// first led to. When names cannot be resolved at all, the pin serves.
func (c *Client) resolve(ctx context.Context, s string) (identity.Account, error) {
	p, err := identity.ParsePeer(s)
	if err != nil {
		return identity.Account{}, &PeerError{s, err}
	}
	if p.Name == "" {
		return p.Account, nil
	}
	if c.resolver == nil {
		return identity.Account{}, &PeerError{p.Name, ErrNoResolver}
	}
	address, err := c.resolver.Resolve(ctx, p.Name)
	if errors.Is(err, identity.ErrNameUnavailable) {
		if pin, pinErr := c.pin(ctx, p.Name); pinErr == nil {
			c.log.Warn("names cannot be resolved now, going by the pin", "err", err)
			return identity.KeyAccount(pin.Address), nil
		}
	}
	if err != nil {
		return identity.Account{}, &PeerError{p.Name, err}
	}
	var changed *identity.PinChangedError
	err = c.step(ctx, func(s *step) error {
		old, err := readPin(s.Tx, p.Name)
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return err
		}
		if errors.Is(err, store.ErrNoRows) {
			old = nil
		}
		pin, err := identity.CheckPin(old, p.Name, address, s.now)
		if errors.As(err, &changed) {
			return s.rivalPin(changed)
		}
		if err != nil || old != nil {
			return err
		}
		_, err = s.Exec(`INSERT INTO pins (name, address, first_seen) VALUES (?, ?, ?)`, pin.Name, pin.Address, pin.FirstSeen.UnixMilli())
		return err
	})
	if err == nil && changed != nil {
		err = &PeerError{p.Name, changed}
	}
	return identity.KeyAccount(address), err
}

// rivalPin remembers that a name leads elsewhere now, and alerts once.
func (s *step) rivalPin(e *identity.PinChangedError) error {
	r, err := s.Exec(`UPDATE pins SET rival = ? WHERE name = ? AND (rival IS NULL OR rival <> ?)`, e.New, e.Name, e.New)
	if err != nil || r.RowsAffected == 0 {
		return err
	}
	return s.alert(e.Error(), Peer{Address: e.Old.Address.String(), Name: e.Name})
}

func readPin(tx *store.Tx, name string) (*identity.Pin, error) {
	pin := &identity.Pin{Name: name}
	var seen int64
	err := tx.QueryRow(`SELECT address, first_seen FROM pins WHERE name = ?`, name).Scan(&pin.Address, &seen)
	pin.FirstSeen = time.UnixMilli(seen)
	return pin, err
}

func (c *Client) pin(ctx context.Context, name string) (pin *identity.Pin, err error) {
	err = c.view(ctx, func(tx *store.Tx) (err error) {
		pin, err = readPin(tx, name)
		return err
	})
	return pin, err
}

// AcceptPin is a person's answer to a PinChangedError: from now on the name
// stands for the address it leads to now.
func (c *Client) AcceptPin(ctx context.Context, name string) error {
	name, err := identity.NormalizeName(name)
	if err != nil {
		return &PeerError{name, err}
	}
	if c.resolver == nil {
		return &PeerError{name, ErrNoResolver}
	}
	address, err := c.resolver.Resolve(ctx, name)
	if err != nil {
		return &PeerError{name, err}
	}
	return c.step(ctx, func(s *step) error {
		_, err := s.Exec(`INSERT OR REPLACE INTO pins (name, address, first_seen) VALUES (?, ?, ?)`, name, address, s.unixMilli())
		return err
	})
}

// SafetyNumber returns the 60 digits that this account and a peer compare, by
// voice or face to face, to be sure of each other's devices. It needs the
// peer's log: ErrNoRecord if it was never seen.
func (c *Client) SafetyNumber(ctx context.Context, peer string) (string, error) {
	theirs, err := c.logOf(ctx, peer)
	if err != nil {
		return "", err
	}
	return identity.SafetyNumber(c.me.log, theirs), nil
}

// SafetyCode returns what a QR code for the peer to scan says, for the same
// comparison by machine: [identity.SafetyCodeSize] bytes. Errors are those of
// SafetyNumber.
func (c *Client) SafetyCode(ctx context.Context, peer string) ([]byte, error) {
	theirs, err := c.logOf(ctx, peer)
	if err != nil {
		return nil, err
	}
	return identity.SafetyCode(c.me.log, theirs), nil
}

// CheckSafetyCode compares the code that a peer's client shows with what is known
// here of the devices of both. It returns [identity.ErrSafetyMismatch] unless
// both sides agree, and the errors of SafetyNumber.
func (c *Client) CheckSafetyCode(ctx context.Context, peer string, code []byte) error {
	theirs, err := c.logOf(ctx, peer)
	if err != nil {
		return err
	}
	return identity.CheckSafetyCode(code, c.me.log, theirs)
}

// logOf returns a peer's log: what is known of it, or else what others have.
func (c *Client) logOf(ctx context.Context, peer string) (*identity.Log, error) {
	account, err := c.resolve(ctx, peer)
	if err != nil {
		return nil, err
	}
	if account == c.me.account {
		return nil, &PeerError{peer, ErrSelf}
	}
	var log *identity.Log
	read := func(tx *store.Tx) (err error) {
		log, err = readLog(tx, account)
		return err
	}
	if err := c.view(ctx, read); err != nil || log != nil {
		return log, err
	}
	record, err := c.fetchPatiently(ctx, account)
	if err != nil {
		return nil, &PeerError{peer, err}
	}
	return record.Log, nil
}

// readLog returns what is known of an account's log, nil if nothing is.
func readLog(tx *store.Tx, a identity.Account) (*identity.Log, error) {
	var b []byte
	err := tx.QueryRow(`SELECT log FROM accounts WHERE acct = ?`, a.Bytes()).Scan(&b)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return identity.ParseLog(b)
}

// learnLog merges a log into what is known of its account, so that nobody can
// make the client forget a revocation, and returns the union. A conflict is a
// *identity.ConflictError.
func (s *step) learnLog(l *identity.Log) (*identity.Log, error) {
	old, err := readLog(s.Tx, l.Account())
	if err != nil {
		return nil, err
	}
	merged, err := identity.MergeLogs(old, l)
	if err != nil {
		return nil, err
	}
	if conflict := merged.Conflict(); conflict != nil {
		return nil, conflict // kept by noteConflict, as this step is undone
	}
	b := merged.Marshal()
	if old != nil && string(old.Marshal()) == string(b) {
		return merged, nil
	}
	if err := s.saveLog(merged.Account(), b); err != nil {
		return nil, err
	}
	if old != nil && identity.SafetyChanged(old, merged) {
		if err := s.noteNewKeys(old, merged); err != nil {
			return nil, err
		}
	}
	s.then(s.c.recheckGroups)
	return merged, nil
}

// noteNewKeys alerts of the change of a safety number that somebody may have
// compared: of an account that was written to by itself, or has written.
func (s *step) noteNewKeys(before, after *identity.Log) error {
	account := after.Account()
	if met, err := s.met(account); err != nil || !met {
		return err
	}
	names := func(l, except *identity.Log) (names []string) {
		for _, d := range l.Devices(s.now) {
			if _, err := except.Device(d.Link, s.now); err != nil {
				names = append(names, strconv.Quote(d.Name))
			}
		}
		return names
	}
	peer := s.c.peer(s.Tx, account)
	text := fmt.Sprintf("the safety number with %s has changed", peer)
	if added := names(after, before); len(added) > 0 {
		text += ", new: device " + strings.Join(added, ", ")
	}
	if gone := names(before, after); len(gone) > 0 {
		text += ", gone: device " + strings.Join(gone, ", ")
	}
	return s.alert(text, peer)
}

func (s *step) saveLog(a identity.Account, log []byte) error {
	_, err := s.Exec(`INSERT INTO accounts (acct, log) VALUES (?, ?) ON CONFLICT (acct) DO UPDATE SET log = excluded.log`, a.Bytes(), log)
	return err
}

// noteConflict keeps a log with two different links at one place, and alerts,
// once: it freezes until the wallet says which one is meant.
func (s *step) noteConflict(conflict *identity.ConflictError) error {
	old, err := readLog(s.Tx, conflict.Account)
	if err != nil {
		return err
	}
	merged, err := identity.MergeLogs(old, conflict.Log)
	if err != nil || old != nil && string(old.Marshal()) == string(merged.Marshal()) {
		return err
	}
	if old == nil && conflict.Account != s.c.me.account {
		return nil // a stranger's trouble
	}
	if err := s.saveLog(conflict.Account, merged.Marshal()); err != nil {
		return err
	}
	s.then(s.c.recheckGroups)
	return s.alert(conflict.Error(), s.c.peer(s.Tx, conflict.Account))
}

// learn takes over a record that was verified by itself.
func (s *step) learn(r *identity.Record) error {
	merged, err := s.learnLog(r.Log)
	if err != nil {
		return err
	}
	device, err := r.Bundle.Verify(merged, s.now)
	if err != nil {
		return err
	}
	r.Log, r.Device = merged, device
	node, err := transport.PeerIDOf(r.Bundle.HostKey[:])
	if err != nil {
		return err
	}
	// The host key has agreed to be named; others that the bundle names have not.
	var addrs []string
	for _, a := range r.Bundle.Addrs {
		if strings.HasSuffix(a, "/p2p/"+node.String()) {
			addrs = append(addrs, a)
		}
	}
	account := r.Log.Account()
	if _, err := s.Exec(`UPDATE accounts SET addrs = ?, node = ? WHERE acct = ?`, strings.Join(addrs, "\n"), node.String(), account.Bytes()); err != nil {
		return err
	}
	s.then(func() {
		s.c.nodes[account] = node
		s.c.keep(addrs)
	})
	return nil
}

// loadNodes reads which node is whose.
func (s *step) loadNodes() error {
	rows, err := s.Query(`SELECT acct, node FROM accounts WHERE node <> ''`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var acct []byte
		var text string
		if err := rows.Scan(&acct, &text); err != nil {
			return err
		}
		account, err := identity.AccountFromBytes(acct)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		node, err := peer.Decode(text)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		s.then(func() { s.c.nodes[account] = node })
	}
	return rows.Err()
}

// keep stays connected to a contact's node.
func (c *Client) keep(addrs []string) {
	if c.node == nil || len(addrs) == 0 {
		return
	}
	if err := c.node.Keep(addrs...); err != nil {
		c.log.Debug("contact's address", "err", err)
	}
	c.entrust(addrs)
}

// entrust notes peers that may learn which account this node is of: those the
// user bootstraps from, and contacts. Nobody else is told.
func (c *Client) entrust(addrs []string) {
	c.entrustedMu.Lock()
	defer c.entrustedMu.Unlock()
	for _, a := range addrs {
		if info, err := peer.AddrInfoFromString(a); err == nil {
			c.entrusted[info.ID] = true
		}
	}
	wake(c.wakePublish)
}

func (c *Client) isEntrusted(id peer.ID) bool {
	c.entrustedMu.Lock()
	defer c.entrustedMu.Unlock()
	return c.entrusted[id]
}

// keepContacts dials the nodes of those the client has sessions with.
func (c *Client) keepContacts(ctx context.Context) {
	err := c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT addrs FROM accounts WHERE addrs <> '' LIMIT ?`, keepMax)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var addrs string
			if err := rows.Scan(&addrs); err != nil {
				return err
			}
			c.keep(strings.Split(addrs, "\n"))
		}
		return rows.Err()
	})
	if err != nil {
		c.log.Error("contacts", "err", err)
	}
}

// fetch asks the connected peers for an account's record and takes over the
// newest. It returns ErrNoRecord if none has one that verifies.
func (c *Client) fetch(ctx context.Context, a identity.Account) (*identity.Record, error) {
	if c.node == nil {
		return nil, ErrNoRecord
	}
	var (
		mu   sync.Mutex
		best *identity.Record
		errs = []error{ErrNoRecord}
		some errgroup.Group
	)
	some.SetLimit(fetchParallel)
	key := a.LookupKey()
	// Those who are slow to answer do not hold up what others have answered.
	askCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, id := range c.askable(a) {
		some.Go(func() error {
			r, err := c.fetchFrom(askCtx, id, key, a)
			var conflict *identity.ConflictError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, transport.ErrNotFound):
			case errors.As(err, &conflict):
				errs = append(errs, err)
				if err := c.step(ctx, func(s *step) error { return s.noteConflict(conflict) }); err != nil {
					return err
				}
			case err != nil:
				errs = append(errs, err)
			case best == nil:
				best = r
				time.AfterFunc(fetchGrace, cancel)
			case r.Bundle.Seq > best.Bundle.Seq:
				best = r
			}
			return nil
		})
	}
	if err := some.Wait(); err != nil {
		return nil, err
	}
	if best == nil {
		return nil, errors.Join(errs...)
	}
	if err := c.step(ctx, func(s *step) error { return s.learn(best) }); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLog, err)
	}
	return best, nil
}

// askable lists the connected peers in the order in which they are asked for an
// account's record: its own node first, the others in no order that one of them
// could choose.
func (c *Client) askable(a identity.Account) []peer.ID {
	peers := c.node.Peers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(peers, c.nodes[a]); i > 0 {
		peers[0], peers[i] = peers[i], peers[0]
	}
	return peers
}

// fetchPatiently is fetch for what a person waits for: a client that was opened
// just now has yet to meet those who have the record.
func (c *Client) fetchPatiently(ctx context.Context, a identity.Account) (*identity.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	for {
		r, err := c.fetch(ctx, a)
		if err == nil || c.node == nil || !errors.Is(err, ErrNoRecord) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(fetchPause):
		}
	}
}

func (c *Client) fetchFrom(ctx context.Context, id peer.ID, key [32]byte, a identity.Account) (*identity.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	b, err := c.node.FetchRecord(ctx, id, key)
	if err != nil {
		return nil, err
	}
	return identity.VerifyRecord(b, a, time.Now())
}

// want is an account whose record the client looks for in the background.
type want struct {
	tries   int
	due     time.Time
	busy    bool
	renewal bool             // not needed: it is not looked for again if nobody has it
	found   *identity.Record // fetched and not used yet
	at      time.Time        // when it was
}

// take keeps a record that was fetched just now.
func (w *want) take(r *identity.Record, now time.Time) { w.found, w.at = r, now }

// drop asks for the record again at a time.
func (w *want) drop(due time.Time) { w.found, w.due = nil, due }

// wantRecord asks for an account's record. Held: c.mu.
func (c *Client) wantRecord(a identity.Account) *want {
	w := c.wanted[a]
	if w == nil {
		w = new(want)
		c.wanted[a] = w
		wake(c.wakePump)
	}
	w.renewal = false
	return w
}

// fetchWanted starts the look-ups that are due, and returns when the next is.
func (c *Client) fetchWanted(ctx context.Context, now time.Time) (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	busy := 0
	for _, w := range c.wanted {
		if w.busy {
			busy++
		}
	}
	for a, w := range c.wanted {
		if w.busy || w.found != nil || busy >= wantParallel {
			continue
		}
		if now.Before(w.due) {
			if next.IsZero() || w.due.Before(next) {
				next = w.due
			}
			continue
		}
		w.busy = true
		busy++
		c.work.Go(func() {
			r, err := c.fetch(ctx, a)
			c.mu.Lock()
			defer c.mu.Unlock()
			w.busy = false
			wake(c.wakePump) // others may have waited for this one
			if err != nil {
				w.due = time.Now().Add(min(fetchBackoff<<min(w.tries, 8), fetchSlowest))
				w.tries++
				if w.renewal {
					delete(c.wanted, a)
				}
				c.log.Debug("no record yet", "tries", w.tries, "err", err)
				return
			}
			w.take(r, time.Now())
		})
	}
	return next
}

// hurry makes what is looked for due now: somebody new can be asked.
func (c *Client) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wanted {
		w.due = time.Time{}
	}
}
