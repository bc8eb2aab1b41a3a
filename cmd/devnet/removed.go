package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	parley "github.com/parley-im/parley"
	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/transport"
)

// pollEvery is how often the story looks again for what it cannot be told of.
const pollEvery = 10 * time.Millisecond

// pause waits until the story looks again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}

// opener tries its keys on an envelope: a client.
type opener interface {
	TryOpen(ctx context.Context, envelope []byte) error
}

// removedCannotRead has the two who remain talk, and gives carol all of it.
func (s *story) removedCannotRead(ctx context.Context) (string, error) {
	w := s.w
	both := []*person{w.alice, w.bob}
	for _, line := range []line{
		{w.alice, "The key to the foghorn is under the seventh plank."},
		{w.bob, "Understood. Seventh plank, not a word to anyone."},
	} {
		if err := s.sayAll(ctx, line.from, both, line.text); err != nil {
			return "", err
		}
	}
	// Carol is awake and hears the network: what is for her, she gets.
	if _, err := s.say(ctx, w.alice, w.carol, parley.Text("No hard feelings, Carol. Your watch is over.")); err != nil {
		return "", err
	}
	n, err := s.checkCarol(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("bob opens all %d envelopes of the group; carol's keys open none, and neither does a copy of them from before", n), nil
}

// checkCarol verifies that nothing said in the group since carol's removal can
// be read with her keys, and that her client has shown nothing of it. It
// returns the number of envelopes that she was given.
func (s *story) checkCarol(ctx context.Context) (int, error) {
	w := s.w
	said := 0
	for _, u := range s.spoken[s.saidBefore:] {
		if u.group != "" {
			said++
		}
	}
	group, others, err := s.overheard(ctx, s.removed, said)
	if err != nil {
		return 0, err
	}
	// The same from another side: a bare node of carol's asks the members for
	// what they keep for each other.
	history, err := w.askHistory(ctx, group, w.alice, w.bob)
	if err != nil {
		return 0, err
	}
	for who, reader := range map[string]opener{"alice": w.alice, "bob": w.bob} {
		if err := opensAll(ctx, reader, group); err != nil {
			return 0, fmt.Errorf("%s, who is a member: %w", who, err)
		}
	}
	given := slices.Concat(group, history)
	if err := opensNone(ctx, w.carol, given); err != nil {
		return 0, fmt.Errorf("carol, who was removed: %w", err)
	}
	if err := opensNone(ctx, s.hoard, given); err != nil {
		return 0, fmt.Errorf("a copy of carol's profile from before her removal: %w", err)
	}
	if err := s.checkStream(); err != nil {
		return 0, err
	}
	s.details["given"] = map[string]int{"captured": len(group), "fromHistory": len(history), "ofPairs": len(others)}
	s.details["opened"] = map[string]int{"bob": len(group), "carol": 0, "carolsCopy": 0}
	s.out.note("carol is given %d envelopes captured since, and %d more from the members' history", len(group), len(history))
	return len(group), nil
}

// checkStream verifies that carol's client has told her nothing of the group
// since it told her that she was removed, and nothing at all of what was said
// without her.
func (s *story) checkStream() error {
	gone := false
	for _, e := range s.w.carol.stream.all() {
		if changes(s.groupID, "gone")(e) {
			gone = true
			continue
		}
		ofGroup := e.Group != nil && e.Group.ID == s.groupID ||
			e.Message != nil && e.Message.Group != nil && e.Message.Group.ID == s.groupID
		if gone && ofGroup {
			return fmt.Errorf("carol's client goes on telling of the group: %s %s", e.Kind, e.Change)
		}
		for _, u := range s.spoken {
			if e.Message != nil && e.Message.Content.Text == u.text && slices.Contains(u.unread, s.w.carol) {
				return fmt.Errorf("carol reads %q", u.text)
			}
		}
	}
	if !gone {
		return errors.New("carol's client does not know that she was removed")
	}
	return nil
}

// opensAll verifies that a reader opens every envelope.
func opensAll(ctx context.Context, reader opener, envelopes []transport.Envelope) error {
	for i, e := range envelopes {
		if err := reader.TryOpen(ctx, e.Marshal()); err != nil {
			return fmt.Errorf("opens not all of the group's envelopes: %d of %d: %w", i, len(envelopes), err)
		}
	}
	return nil
}

// opensNone verifies that a reader has no key for any of the envelopes.
func opensNone(ctx context.Context, reader opener, envelopes []transport.Envelope) error {
	for i, e := range envelopes {
		switch err := reader.TryOpen(ctx, e.Marshal()); {
		case err == nil:
			return fmt.Errorf("opens one of the group's envelopes, %d of %d", i+1, len(envelopes))
		case !errors.Is(err, parley.ErrNoKey):
			return err
		}
	}
	return nil
}

// overheard returns what the eavesdropper captured from a position on, without
// repetitions of what came before: the group's envelopes, waiting until there
// are at least n, and the others. It knows the group's by asking alice's node,
// which keeps them for members who missed some.
func (s *story) overheard(ctx context.Context, mark, n int) (group, others []transport.Envelope, err error) {
	old := map[[32]byte]bool{}
	for _, c := range s.w.tap.since(0)[:mark] {
		old[c.env.ContentHash()] = true
	}
	seen := -1
	for {
		now := s.w.tap.since(mark)
		if len(now) != seen {
			seen = len(now)
			var fresh []transport.Envelope
			known := map[[32]byte]bool{}
			for _, c := range now {
				if h := c.env.ContentHash(); !old[h] && !known[h] {
					known[h] = true
					fresh = append(fresh, c.env)
				}
			}
			kept, err := history(ctx, s.w.tap.node, s.w.alice, tagsOf(fresh))
			if err != nil {
				return nil, nil, err
			}
			group, others = nil, nil
			for _, e := range fresh {
				if slices.ContainsFunc(kept, func(k transport.Envelope) bool { return k.ContentHash() == e.ContentHash() }) {
					group = append(group, e)
				} else {
					others = append(others, e)
				}
			}
			if len(group) >= n {
				return group, others, nil
			}
		}
		if err := pause(ctx); err != nil {
			return nil, nil, fmt.Errorf("the eavesdropper has heard %d of the group's envelopes, and there are at least %d: %w", len(group), n, err)
		}
	}
}

func tagsOf(envelopes []transport.Envelope) []transport.Tag {
	var tags []transport.Tag
	for _, e := range envelopes {
		if !slices.Contains(tags, e.Tag) {
			tags = append(tags, e.Tag)
		}
	}
	return tags
}

// history asks a person's node for what it keeps under tags.
func history(ctx context.Context, from *transport.Node, of *person, tags []transport.Tag) ([]transport.Envelope, error) {
	id, err := peer.Decode(of.info.PeerID)
	if err != nil {
		return nil, err
	}
	var all []transport.Envelope
	for some := range slices.Chunk(tags, transport.MaxHistoryTags) {
		got, err := from.FetchHistory(ctx, id, some)
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", of.name, err)
		}
		all = append(all, got...)
	}
	return all, nil
}

// askHistory opens a bare node, as anybody can, and has it ask members for
// what they keep under the tags of some envelopes.
func (w *world) askHistory(ctx context.Context, about []transport.Envelope, members ...*person) (all []transport.Envelope, err error) {
	node, err := bareNode(ctx, transport.Options{Listen: []string{}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	for _, p := range members {
		if err := node.Connect(ctx, p.info.Addrs...); err != nil {
			return nil, err
		}
		got, err := history(ctx, node, p, tagsOf(about))
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	if len(all) == 0 {
		return nil, errors.New("the members' nodes have no history")
	}
	return all, nil
}

// bareNode opens a node of the network with a key of its own and nothing else.
func bareNode(ctx context.Context, o transport.Options) (*transport.Node, error) {
	key, err := secp.GenerateKey()
	if err != nil {
		return nil, err
	}
	var scalar secret.Key = key.Bytes()
	defer scalar.Erase()
	o.HostKey, o.Network = scalar, network
	return transport.Open(ctx, o)
}

// copyTries is how often a profile is copied before its client holds still.
const copyTries = 20

// keepCopy copies a person's profile as it is now, and opens a client on the
// copy, without a network: it is what a member has who keeps every key it is
// told to forget. The copy must open what the group has said so far, or it would
// prove nothing.
func (w *world) keepCopy(ctx context.Context, p *person, sofar []transport.Envelope) (*parley.Client, error) {
	var errs error
	for i := range copyTries {
		dir := filepath.Join(p.dir, fmt.Sprintf("copy-%d", i+1))
		c, err := openCopy(ctx, p, dir)
		if err == nil {
			if err = opensAll(ctx, c, sofar); err == nil {
				w.copies = append(w.copies, c)
				return c, nil
			}
			err = errors.Join(err, c.Close())
		}
		// Its client was writing just then.
		errs = errors.Join(err, os.RemoveAll(dir))
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), errs)
		case <-time.After(pollEvery << min(i, 5)):
		}
	}
	return nil, fmt.Errorf("no copy of %s's profile opens: %w", p.name, errs)
}

func openCopy(ctx context.Context, p *person, dir string) (*parley.Client, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.profile())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(dir, e.Name()), filepath.Join(p.profile(), e.Name())); err != nil {
			return nil, err
		}
	}
	return parley.Open(ctx, parley.Options{Dir: dir, Unlock: p.unlock(), Offline: true})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
