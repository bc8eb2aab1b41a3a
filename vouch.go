package parley

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/internal/wire"
)

// judge finds the members whose log does not vouch for their leaf, or is not
// known. While there are any, nothing is sent to the group.
func (s *step) judge(g *group) error {
	var untrusted, unreached, nameless []identity.Account
	for _, m := range g.head.Members() {
		acct, err := memberAccount(m)
		if err != nil {
			return err
		}
		if acct == s.c.me.account {
			continue
		}
		if s.vouch(m.Credential, m.SignatureKey) != nil {
			untrusted = append(untrusted, acct)
		} else if s.c.nodes[acct] == "" {
			unreached = append(unreached, acct) // whom to ask for what was missed
		}
		if s.c.canReverse() && s.c.peer(s.Tx, acct).Name == "" && hasLog(s.Tx, acct) {
			nameless = append(nameless, acct)
		}
	}
	s.then(func() {
		g.untrusted = untrusted
		s.c.nameless(nameless)
		for _, a := range slices.Concat(untrusted, unreached) {
			// What was found did not help: look again, not at once.
			if w := s.c.wantRecord(a); w.found != nil {
				w.drop(s.now.Add(fetchSlowest))
			}
		}
	})
	return nil
}

// recheckGroups judges again after some account's log has changed. Held: c.mu,
// right after a commit.
func (c *Client) recheckGroups() {
	for id := range c.groups {
		c.judgeWanted[id] = true
	}
	wake(c.wakePump)
}

// VerifyCredential is groups.CredentialVerifier: the account's log, as far as
// it is known here, authorises the device whose signature key it is.
func (s *step) VerifyCredential(c groups.Credential, signatureKey []byte) error {
	return s.vouch(c, signatureKey)
}

func (s *step) vouch(c groups.Credential, signatureKey []byte) error {
	acct, link, err := groups.ParseEthereum(c)
	if err != nil {
		return err
	}
	account, err := identity.AccountFromBytes(acct[:])
	if err != nil {
		return err
	}
	log := s.c.me.log
	if account != s.c.me.account {
		if log, err = readLog(s.Tx, account); err != nil {
			return err
		}
	}
	if log == nil {
		return ErrNoRecord
	}
	device, err := log.Device(link, s.now)
	if err != nil {
		return err
	}
	if string(device.SigningKey.Bytes()) != string(signatureKey) {
		return identity.ErrUnknownDevice
	}
	return nil
}

// memberLog is an account's log as a member passes it on. It proves itself.
type memberLog struct {
	account identity.Account
	log     []byte
}

// appendMemberLogs encodes as many logs as fit size bytes, at least one, and
// returns the others. They are in the order of their accounts.
func appendMemberLogs(b []byte, all []memberLog, size int) ([]byte, []memberLog) {
	for i, l := range all {
		if i > 0 && len(b)+4+len(l.log) > size {
			return b, all[i:]
		}
		b = wire.AppendLP(b, l.log)
	}
	return b, nil
}

// parseMemberLogs splits what appendMemberLogs has encoded. It reads of each log
// whose it is, and nothing more. It returns ErrContent unless the accounts
// ascend.
func parseMemberLogs(b []byte) ([]memberLog, error) {
	var all []memberLog
	for r := wire.NewReader(b); r.More(); {
		l := memberLog{log: r.LP(identity.MaxLogSize)}
		inner := wire.NewReader(l.log)
		inner.Uint8() // version
		acct := inner.Bytes(groups.AcctSize)
		if err := errors.Join(r.Err(), inner.Err()); err != nil {
			return nil, fmt.Errorf("%w: logs: %w", ErrContent, err)
		}
		var err error
		if l.account, err = identity.AccountFromBytes(acct); err != nil {
			return nil, fmt.Errorf("%w: logs: %w", ErrContent, err)
		}
		if n := len(all); n > 0 && bytes.Compare(all[n-1].account.Bytes(), acct) >= 0 {
			return nil, fmt.Errorf("%w: logs are not in order", ErrContent)
		}
		all = append(all, l)
	}
	return all, nil
}

// logsOf returns the logs of members, as far as they are known.
func (s *step) logsOf(members []groups.Member) ([]memberLog, error) {
	var all []memberLog
	for _, m := range members {
		account, err := memberAccount(m)
		if err != nil {
			return nil, err
		}
		l := memberLog{account: account, log: s.c.me.log.Marshal()}
		if account != s.c.me.account {
			// As it was verified and stored; whoever gets it verifies it again.
			err := s.QueryRow(`SELECT log FROM accounts WHERE acct = ?`, account.Bytes()).Scan(&l.log)
			if errors.Is(err, store.ErrNoRows) {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b memberLog) int { return bytes.Compare(a.account.Bytes(), b.account.Bytes()) })
	return slices.CompactFunc(all, func(a, b memberLog) bool { return a.account == b.account }), nil
}

// passOnLogs tells the other members the logs of those who were added: whether
// they find the records of their own does not matter then.
func (s *step) passOnLogs(g *group, added []groups.Member) error {
	if g.head.Size() <= 1+len(added) {
		return nil // the Welcome has told everyone
	}
	rest, err := s.logsOf(added)
	for len(rest) > 0 && err == nil {
		c := Content{Kind: kindLogs, ID: NewMessageID()}
		c.Data, rest = appendMemberLogs(nil, rest, maxGroupLogs)
		if c.Seq, err = s.nextSeq(g.conv()); err == nil {
			err = s.enqueue(g.conv(), nil, c, false)
		}
	}
	return err
}

// learnLogs takes over the logs of those members of a group that nobody vouches
// for yet, each as if it had been fetched. Others are not looked at: what a
// member passes on costs no more than that.
func (s *step) learnLogs(members []groups.Member, b []byte) error {
	all, err := parseMemberLogs(b)
	if err != nil {
		s.c.dropped.content.Add(1)
		return nil
	}
	wanted := map[identity.Account]bool{}
	for _, m := range members {
		account, err := memberAccount(m)
		if err != nil {
			return err
		}
		if account != s.c.me.account && s.vouch(m.Credential, m.SignatureKey) != nil {
			wanted[account] = true
		}
	}
	for _, l := range all {
		if !wanted[l.account] {
			continue
		}
		log, err := identity.ParseLog(l.log)
		if err == nil {
			_, err = s.learnLog(log)
		}
		var conflict *identity.ConflictError
		switch {
		case err == nil:
		case errors.As(err, &conflict) && conflict.Log != nil:
			if err := s.noteConflict(conflict); err != nil {
				return err
			}
		case errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFull):
			return err
		default:
			s.c.dropped.content.Add(1)
			s.c.log.Debug("member's log", "err", err)
		}
	}
	return nil
}
