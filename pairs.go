package parley

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

const (
	// maxUnacked is how many messages to one contact are on their way at a
	// time. It is below ratchet.MaxSkip, so that a contact who was away can
	// read whichever of them arrives first.
	maxUnacked = 256
	// maxStrangers bounds the accounts with a session that were never written
	// to, and strangersBurst those that are new within strangersEvery.
	maxStrangers   = 4096
	strangersBurst = 64
	strangersEvery = time.Minute
	// archiveFor is how long a session is kept for receiving after another
	// took over.
	archiveFor = 24 * time.Hour
)

func sessionScope(id ratchet.ID) string { return "session:" + hex.EncodeToString(id[:]) }
func sessionPlace(id ratchet.ID) string { return "sessions/" + hex.EncodeToString(id[:]) }

func skippedPlace(id ratchet.ID, tag ratchet.Tag) string {
	return "skipped/" + hex.EncodeToString(id[:]) + "/" + hex.EncodeToString(tag[:])
}

// ratchetSelf is this device as a handshake binds it.
func (c *Client) ratchetSelf() ratchet.Identity {
	return ratchet.Identity{
		Acct: [ratchet.AcctSize]byte(c.me.account.Bytes()), Dev: c.me.link,
		IK: c.me.device.DH.PublicKey(), SK: c.me.device.Signing.PublicKey(),
	}
}

// expectFirsts makes the index expect first messages, of this week and of those
// whose prekeys are still kept.
func (c *Client) expectFirsts() {
	for _, tag := range ratchet.FirstTags(c.me.inbox, time.Now()) {
		c.expect(route{kind: routeFirst}, transport.Tag(tag))
	}
}

// saveSession writes a session's next state. old is nil for a new session.
func (s *step) saveSession(old, session *ratchet.Session) error {
	id := session.ID()
	scope := sessionScope(id)
	if old == nil {
		if err := s.CreateScope(scope); err != nil {
			return err
		}
	}
	state := session.Marshal()
	defer state.Erase()
	sealed, err := s.SealKey(scope, sessionPlace(id), state)
	if err != nil {
		return err
	}
	peer := session.Peer()
	if old == nil {
		_, err = s.Exec(`INSERT INTO sessions (id, acct, dev, sealed, own, created, heard) VALUES (?, ?, ?, ?, ?, ?, 0)`, id, peer.Acct, peer.Dev, sealed, !session.Answered(), s.unixMilli())
	} else {
		// An archived session that is in use is kept on.
		_, err = s.Exec(`UPDATE sessions SET sealed = ?, archived = CASE WHEN archived IS NULL THEN NULL ELSE ? END WHERE id = ?`, sealed, s.unixMilli(), id)
	}
	if err != nil {
		return err
	}
	s.keepLive(session)
	s.then(func() {
		s.c.setSession(old, session, s.now)
		if old != nil {
			old.Erase()
		}
	})
	return nil
}

// sending returns the session on which to write to an account, nil if there is
// none: of those with its latest device the one both sides prefer.
func (s *step) sending(a identity.Account) (*ratchet.Session, error) {
	ids, err := s.sessionIDs(`SELECT id FROM sessions WHERE acct = ? AND archived IS NULL`, a.Bytes())
	if err != nil {
		return nil, err
	}
	log, err := readLog(s.Tx, a)
	if err != nil || log == nil {
		return nil, err
	}
	var best *ratchet.Session
	var bestSeq uint64
	for _, id := range ids {
		session, err := s.session(id)
		if err != nil {
			return nil, err
		}
		if session == nil {
			continue // of another version, and dropped
		}
		device, err := log.Device(session.Peer().Dev, s.now)
		if err != nil {
			continue // revoked or expired: nothing is sent to it
		}
		switch {
		case best == nil || device.Seq > bestSeq:
			best, bestSeq = session, device.Seq
		case device.Seq == bestSeq:
			best = ratchet.Preferred(best, session)
		}
	}
	return best, nil
}

// initiate starts a session from a record that was fetched just now.
func (s *step) initiate(r *identity.Record) (*ratchet.Session, error) {
	b, err := prekeyBundle(r)
	if err != nil {
		return nil, err
	}
	if b.OPK == nil {
		s.c.log.Warn("a session begins without a one-time prekey, there is none left: its first messages rest on the weekly ones")
	}
	return ratchet.Initiate(s.c.ratchetSelf(), s.c.me.device.DH, b, wire.AppendLP(nil, s.c.me.log.Marshal()), s.now)
}

func prekeyBundle(r *identity.Record) (ratchet.PrekeyBundle, error) {
	spk, err := secp.ParsePublicKey(r.Bundle.Prekey.Key[:])
	if err != nil {
		return ratchet.PrekeyBundle{}, err
	}
	b := ratchet.PrekeyBundle{
		Identity: ratchet.Identity{
			Acct: [ratchet.AcctSize]byte(r.Log.Account().Bytes()), Dev: r.Device.Link, IK: r.Device.DHKey, SK: r.Device.SigningKey,
		},
		SPKID: r.Bundle.Prekey.ID, SPK: spk,
		EKID: r.Bundle.KEMPrekey.ID, EK: r.Bundle.KEMPrekey.Key[:], InboxKey: r.Bundle.InboxKey,
	}
	if len(r.Bundle.OneTime) > 0 {
		opk, err := secp.ParsePublicKey(r.Bundle.OneTime[0].Key[:])
		if err != nil {
			return ratchet.PrekeyBundle{}, err
		}
		b.OPK = &ratchet.OneTimePrekey{ID: r.Bundle.OneTime[0].ID, Key: opk}
	}
	return b, nil
}

// pairShard is the shard of a session, or of first messages to an account.
func (c *Client) pairShard(session *ratchet.Session) int {
	secretOf := session.ID()
	seed := secretOf[:]
	if !session.Answered() {
		peer := session.Peer()
		seed = peer.Acct[:]
	}
	return c.shardOf(seed)
}

func (c *Client) shardOf(seed []byte) int {
	shards := transport.DefaultShards
	if c.node != nil {
		shards = c.node.Shards()
	}
	return transport.ShardOf(sha256.Sum256(append(wire.AppendLP(nil, []byte("parley/1 shard")), seed...)), shards)
}

// fillPair encrypts what waits for an account, as far as the window allows. It
// asks for the account's record if there is no session yet.
func (s *step) fillPair(conv string, a identity.Account) error {
	session, err := s.sending(a)
	if err != nil {
		return err
	}
	stored := session
	if session == nil {
		w := s.c.wantRecord(a)
		if w.found != nil && s.now.Sub(w.at) > fetchFresh {
			w.drop(s.now) // its prekeys may be gone by now
			wake(s.c.wakePump)
		}
		if w.found == nil {
			return nil
		}
		if session, err = s.initiate(w.found); err != nil {
			w.drop(s.now.Add(fetchSlowest))
			return err
		}
		s.then(func() { delete(s.c.wanted, a) }) // a one-time prekey serves once
	}
	var unacked int
	if err := s.QueryRow(`SELECT COUNT(*) FROM outbox WHERE conv = ? AND acked = 1 AND tag IS NOT NULL`, conv).Scan(&unacked); err != nil {
		return err
	}
	base, err := s.baseSeq(conv)
	if err != nil {
		return err
	}
	// Receipts need no room in the window: two who both have it full would wait
	// for each other's for ever.
	waiting, err := s.unencrypted(conv, false, maxUnacked)
	if err != nil {
		return err
	}
	messages, err := s.unencrypted(conv, true, max(0, maxUnacked-unacked))
	if err != nil {
		return err
	}
	if messages, err = s.untilWholes(conv, messages); err != nil {
		return err
	}
	waiting = append(waiting, messages...)
	first := session
	for _, row := range waiting {
		content, err := ParseContent(row.content)
		if err != nil {
			return fmt.Errorf("%w: outbox: %w", store.ErrCorrupt, err)
		}
		if content.Seq > 0 {
			content.Base = min(base, content.Seq)
		}
		b, err := content.Marshal()
		if err != nil {
			return err
		}
		next, m, err := session.Encrypt(b, nil, s.now)
		if err != nil {
			return fmt.Errorf("parley: encrypt: %w", err)
		}
		session = next
		id := session.ID()
		if err := s.encrypted(row.id, id[:], transport.Tag(m.Tag), m.Body, s.c.pairShard(session)); err != nil {
			return err
		}
	}
	if session == first && stored != nil {
		return nil
	}
	return s.saveSession(stored, session)
}

// untilWholes cuts what waits where it would begin more contents in parts than
// the receiver keeps.
func (s *step) untilWholes(conv string, all []waiting) ([]waiting, error) {
	rows, err := s.Query(`SELECT DISTINCT whole FROM outbox WHERE conv = ? AND tag IS NOT NULL AND whole IS NOT NULL`, conv)
	if err != nil {
		return nil, err
	}
	begun := map[string]bool{}
	for rows.Next() {
		var whole []byte
		if err := rows.Scan(&whole); err != nil {
			return nil, err
		}
		begun[string(whole)] = true
	}
	for i, w := range all {
		if w.whole == nil || begun[string(w.whole)] {
			continue
		}
		if len(begun) >= maxWholes {
			return all[:i], rows.Err()
		}
		begun[string(w.whole)] = true
	}
	return all, rows.Err()
}

// dropSession erases everything of a session.
func (s *step) dropSession(id ratchet.ID) error {
	if err := s.requeue(id); err != nil {
		return err
	}
	if err := s.dropSkipped(`SELECT session, tag FROM skipped WHERE session = ?`, id); err != nil {
		return err
	}
	for _, query := range []string{`DELETE FROM idle_tags WHERE session = ?`, `DELETE FROM sessions WHERE id = ?`} {
		if _, err := s.Exec(query, id); err != nil {
			return err
		}
	}
	s.forget(id)
	if !s.HasScope(sessionScope(id)) { // put back to a state from before it was dropped
		return nil
	}
	return s.DropScope(sessionScope(id))
}

// receiveFirst takes a message that begins a session, or comes before the
// sender knows that it has been answered.
func (s *step) receiveFirst(first *ratchet.First, e transport.Envelope) error {
	if session, err := s.session(first.ID); err != nil {
		return err
	} else if session != nil {
		return s.receiveOn(session, e, first.Message.Tag, first.Message.Body)
	}
	var n int
	if err := s.QueryRow(`SELECT COUNT(*) FROM firsts WHERE id = ?`, first.ID).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return ratchet.ErrReplay
	}
	account, device, err := s.verifyHello(first)
	if err != nil {
		return err
	}
	if err := s.admit(account); err != nil {
		return err
	}
	opened, err := first.Accept(s.c.ratchetSelf(), s.c.me.device.DH, s, nil, s.now)
	if err != nil {
		return err
	}
	if first.OPKID == nil {
		s.c.log.Warn("a session was begun with this device without a one-time prekey: its first messages rest on the weekly ones")
	} else if err := s.usePrekey(*first.OPKID); err != nil {
		return err
	}
	if _, err := s.Exec(`INSERT INTO firsts (id, expires) VALUES (?, ?)`, first.ID, s.now.Add(2*prekeyLifetime).UnixMilli()); err != nil {
		return err
	}
	if err := s.saveSession(nil, opened.Session); err != nil {
		return err
	}
	if err := s.archiveOthers(account, opened.Session); err != nil {
		return err
	}
	if err := s.supersede(account, device.Seq); err != nil {
		return err
	}
	if err := s.saveDelta(first.ID, opened.Delta); err != nil {
		return err
	}
	if name := s.c.found[account]; name != "" {
		if _, err := s.Exec(`UPDATE accounts SET name = ? WHERE acct = ?`, name, account.Bytes()); err != nil {
			return err
		}
		s.then(func() { delete(s.c.found, account) })
	}
	return s.receivePair(opened.Session, e, opened.Plaintext)
}

// helloLog reads the log that the sender of a first message shows, of the
// account it claims to be.
func helloLog(first *ratchet.First) (*identity.Log, error) {
	account, err := identity.AccountFromBytes(first.From.Acct[:])
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(first.Hello)
	b := r.LP(identity.MaxLogSize)
	if err := r.Done(); err != nil {
		return nil, err
	}
	log, err := identity.ParseLog(b)
	if err != nil {
		return nil, err
	}
	if log.Account() != account {
		return nil, identity.ErrOtherAccount
	}
	return log, nil
}

// verifyHello checks that the sender of a first message is a device that its
// account has authorised, and learns the account's log.
func (s *step) verifyHello(first *ratchet.First) (a identity.Account, d identity.AuthorizedDevice, err error) {
	log, err := helloLog(first)
	if err != nil {
		return a, d, err
	}
	a = log.Account()
	if a == s.c.me.account {
		return a, d, identity.ErrOtherAccount
	}
	if log, err = s.learnLog(log); err != nil {
		return a, d, err
	}
	if d, err = log.Device(first.From.Dev, s.now); err != nil {
		return a, d, err
	}
	if !d.DHKey.Equal(first.From.IK) || !d.SigningKey.Equal(first.From.SK) {
		return a, d, identity.ErrUnknownDevice
	}
	return a, d, nil
}

// met reports whether an account was written to in a pair, or has written.
func (s *step) met(a identity.Account) (bool, error) {
	var n int
	err := s.QueryRow(`SELECT (SELECT COUNT(*) FROM order_out WHERE conv = ?) + (SELECT COUNT(*) FROM sessions WHERE acct = ?)`, pairConv(a), a.Bytes()).Scan(&n)
	return n > 0, err
}

// errCrowded is for a stranger when there are too many. What it has sent is not
// acknowledged, so it comes again.
var errCrowded = errors.New("parley: too many strangers")

// admit bounds the accounts that this client never wrote to and that have a
// session with it: making accounts costs nothing.
func (s *step) admit(a identity.Account) error {
	if met, err := s.met(a); err != nil || met {
		return err
	}
	var strangers int
	if s.now.Sub(s.c.strangersSince) >= strangersEvery {
		s.c.strangersSince, s.c.strangersNew = s.now, 0
	}
	if s.c.strangersNew >= strangersBurst {
		return errCrowded
	}
	if err := s.QueryRow(`SELECT COUNT(DISTINCT acct) FROM sessions WHERE 'p:' || lower(hex(acct)) NOT IN (SELECT conv FROM order_out)`).Scan(&strangers); err != nil {
		return err
	}
	if strangers >= maxStrangers {
		return errCrowded
	}
	s.then(func() { s.c.strangersNew++ })
	return nil
}

// archiveOthers lets one of the sessions with a device send, when that has begun
// another. Of one that this side began and one that the other side began it is
// the preferred one: whether the two crossed on the way, and in what order their
// messages came, each side sees differently, and both must choose alike. Of two
// that the other side began it is the new one: it would not have begun again
// if it still had the old one. Should the choice be wrong after all, because
// the other side has lost the preferred session, heal finds out.
func (s *step) archiveOthers(a identity.Account, session *ratchet.Session) error {
	peer := session.Peer()
	const active = `SELECT id FROM sessions WHERE acct = ? AND dev = ? AND archived IS NULL`
	ids, err := s.sessionIDs(active, a.Bytes(), peer.Dev)
	if err != nil {
		return err
	}
	own, err := s.sessionIDs(active+` AND own = 1`, a.Bytes(), peer.Dev)
	if err != nil {
		return err
	}
	best := session
	for _, id := range own {
		other, err := s.session(id)
		if err != nil {
			return err
		}
		if other != nil {
			best = ratchet.Preferred(best, other)
		}
	}
	for _, id := range ids {
		if id == best.ID() {
			continue
		}
		if _, err := s.Exec(`UPDATE sessions SET archived = ? WHERE id = ?`, s.unixMilli(), id); err != nil {
			return err
		}
	}
	return s.dropSessions(`SELECT id FROM sessions WHERE acct = ? AND dev = ? AND archived IS NOT NULL ORDER BY archived DESC, id LIMIT -1 OFFSET ?`, a.Bytes(), peer.Dev, maxSessions-1)
}

// authorised checks that the account of a session still authorises its device:
// who took a device that was revoked does not speak for the account.
func (s *step) authorised(session *ratchet.Session) error {
	peer := session.Peer()
	account, err := identity.AccountFromBytes(peer.Acct[:])
	if err != nil {
		return err
	}
	log, err := readLog(s.Tx, account)
	if err != nil {
		return err
	}
	if log == nil {
		return ErrNoRecord
	}
	_, err = log.Device(peer.Dev, s.now)
	return err
}

// receiveSession takes an envelope under a tag that a session expects.
func (s *step) receiveSession(id ratchet.ID, e transport.Envelope) error {
	session, err := s.session(id)
	if err != nil {
		return err
	}
	if session == nil {
		return ratchet.ErrDecrypt
	}
	return s.receiveOn(session, e, ratchet.Tag(e.Tag), e.Body)
}

// receiveOn takes a message of a session.
func (s *step) receiveOn(session *ratchet.Session, e transport.Envelope, tag ratchet.Tag, body []byte) error {
	if err := s.authorised(session); err != nil {
		return err
	}
	in := ratchet.Incoming{Tag: tag, Body: body}
	id := session.ID()
	var sealed []byte
	err := s.QueryRow(`SELECT sealed FROM skipped WHERE session = ? AND tag = ?`, id, tag).Scan(&sealed)
	if err == nil {
		b, err := s.UnsealKey(sessionScope(id), skippedPlace(id, tag), sealed)
		if err != nil {
			return err
		}
		defer b.Erase()
		if in.Skipped, err = ratchet.ParseSkippedKey(b.Bytes()); err != nil {
			return fmt.Errorf("%w: skipped key: %w", store.ErrCorrupt, err)
		}
	} else if !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if err := s.QueryRow(`SELECT COUNT(*) FROM skipped WHERE session = ?`, id).Scan(&in.Stored); err != nil {
		return err
	}
	opened, err := session.Decrypt(in, s.now)
	if err != nil {
		return err
	}
	if err := s.saveSession(session, opened.Session); err != nil {
		return err
	}
	if err := s.saveDelta(id, opened.Delta); err != nil {
		return err
	}
	return s.receivePair(opened.Session, e, opened.Plaintext)
}

// saveDelta writes what a step does to the skipped keys of its session.
func (s *step) saveDelta(id ratchet.ID, d ratchet.Delta) error {
	if d.Used != nil {
		if _, err := s.Exec(`DELETE FROM skipped WHERE session = ? AND tag = ?`, id, *d.Used); err != nil {
			return err
		}
		s.then(func() { s.c.index.Remove(transport.Tag(*d.Used)) })
	}
	if d.Evict > 0 {
		if err := s.dropSkipped(`SELECT session, tag FROM skipped WHERE session = ? ORDER BY created LIMIT ?`, id, d.Evict); err != nil {
			return err
		}
	}
	for _, k := range d.New {
		var b secret.Key = k.Marshal()
		sealed, err := s.SealKey(sessionScope(id), skippedPlace(id, k.Tag), b)
		b.Erase()
		if err != nil {
			return err
		}
		if _, err := s.Exec(`INSERT INTO skipped (session, tag, sealed, created) VALUES (?, ?, ?, ?)`, id, k.Tag, sealed, k.Created.UnixMilli()); err != nil {
			return err
		}
		s.then(func() { s.c.expect(route{kind: routeSession, session: id}, transport.Tag(k.Tag)) })
	}
	return nil
}

// dropSkipped deletes the skipped keys that a query finds, which the index does
// not expect any more then.
func (s *step) dropSkipped(query string, args ...any) error {
	rows, err := s.Query(query, args...)
	if err != nil {
		return err
	}
	type key struct {
		id  ratchet.ID
		tag ratchet.Tag
	}
	var keys []key
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.id, &k.tag); err != nil {
			return err
		}
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := s.Exec(`DELETE FROM skipped WHERE session = ? AND tag = ?`, k.id, k.tag); err != nil {
			return err
		}
	}
	s.then(func() {
		for _, k := range keys {
			s.c.index.Remove(transport.Tag(k.tag))
		}
	})
	return nil
}

// receivePair takes what a session's message says, acknowledges it, and
// remembers its ciphertext.
func (s *step) receivePair(session *ratchet.Session, e transport.Envelope, plaintext []byte) error {
	peer := session.Peer()
	account, err := identity.AccountFromBytes(peer.Acct[:])
	if err != nil {
		return err
	}
	id := session.ID()
	if _, err := s.Exec(`UPDATE sessions SET heard = ? WHERE id = ?`, s.unixMilli(), id); err != nil {
		return err
	}
	content, err := s.content(plaintext)
	if err != nil {
		return s.markSeen(e, nil, nil) // the ratchet has moved on: keep that, drop the content
	}
	if content.Kind == KindReceipt && !content.Read {
		if err := s.markSeen(e, nil, nil); err != nil {
			return err
		}
		return s.receiveReceipt(account, content)
	}
	if err := s.markSeen(e, account.Bytes(), content.ID[:]); err != nil {
		return err
	}
	s.then(func() { s.c.acknowledge(account, content.ID) })
	conv := pairConv(account)
	if content.Kind == kindPart {
		whole, err := s.join(conv, peer.Dev[:], content)
		if whole == nil || err != nil {
			return err
		}
		content = *whole
	}
	if content.Kind == kindLogs {
		s.c.dropped.content.Add(1) // is of groups
		return nil
	}
	if content.Kind == kindWelcome {
		return s.receiveWelcome(account, content)
	}
	if content.Kind == KindReceipt {
		return s.receiveReceipt(account, content)
	}
	return s.inOrder(conv, peer.Dev[:], account, content)
}

// receiveReceipt advances the messages that a contact acknowledges.
func (s *step) receiveReceipt(account identity.Account, content Content) error {
	conv := pairConv(account)
	for _, ref := range content.Refs {
		if content.Read {
			if err := s.advance(conv, ref, Read); err != nil {
				return err
			}
			continue
		}
		var message []byte
		err := s.QueryRow(`SELECT message FROM outbox WHERE wire = ? AND conv = ?`, ref[:], conv).Scan(&message)
		if errors.Is(err, store.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := s.Exec(`DELETE FROM outbox WHERE wire = ? AND conv = ?`, ref[:], conv); err != nil {
			return err
		}
		if message == nil {
			continue
		}
		var left int
		if err := s.QueryRow(`SELECT COUNT(*) FROM outbox WHERE conv = ? AND message = ?`, conv, message).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			if err := s.advance(conv, MessageID(message), Delivered); err != nil {
				return err
			}
		}
	}
	s.then(func() { wake(s.c.wakePump) }) // the window has moved
	return nil
}
