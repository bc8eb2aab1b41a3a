package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	parley "github.com/parley-im/parley"
)

// stepTimeout bounds every step. Most take well under a second, on a machine that
// has nothing else to do.
const stepTimeout = 2 * time.Minute

// groupName is what alice calls her group.
const groupName = "harbour watch"

// chapter is a step of the story: its name, which is part of the program's
// interface, a heading, and what it does and verifies.
type chapter struct {
	name, title string
	play        func(*story, context.Context) (proof string, err error)
}

// chapters is the story.
var chapters = []chapter{
	{"chain", "an Ethereum chain with ENS, served over HTTP", (*story).startChain},
	{"names", "three names, three wallets, three nodes, and one who listens in", (*story).bringUp},
	{"pair", "alice writes to a name, bob answers", (*story).pair},
	{"group", "alice makes a group of three", (*story).group},
	{"talk", "all three talk", (*story).talk},
	{"remove", "carol is removed", (*story).remove},
	{"removed-cannot-read", "what is said without her, carol cannot read", (*story).removedCannotRead},
	{"update", "bob replaces his keys", (*story).update},
	{"goes-on", "the group goes on", (*story).goesOn},
	{"safe", "the three own a Safe, and meet in private", (*story).openSafe},
	{"invoice", "two of them pay an invoice, the third looks on", (*story).payInvoice},
	{"delegatecall", "a proposal that would take everything", (*story).refuseDelegateCall},
	{"transcript", "a stranger checks what was signed", (*story).checkTranscript},
	{"eavesdropper", "what the one without keys has got", (*story).eavesdropper},
}

// story is a play in progress.
type story struct {
	w   *world
	out *printer
	// keep leaves the world open to newcomers after a story that held.
	keep bool

	details  map[string]any // of the step that runs
	spoken   []utterance
	groupID  string
	heads    []string       // every commit hash seen
	hoard    *parley.Client // on what carol might have kept
	treasury *treasury
	// Where carol was out: in the capture, and in what was said.
	removed, saidBefore int
}

// line is what somebody has to say.
type line struct {
	from *person
	text string
}

// utterance is something said, and who is to read it.
type utterance struct {
	from   *person
	to     string // as shown
	group  string // id, empty in a pair
	text   string
	heard  []*person
	unread []*person // who must not
}

// play plays the chapters in order and stops at the first that fails. It
// returns nil if all were verified.
func (s *story) play(ctx context.Context) error {
	s.out.text("%s", s.out.title.Render("A world on a laptop: a chain, three people, and somebody who listens in."))
	v := verdict{Steps: []string{}}
	began := time.Now()
	var failed error
	for i, c := range chapters {
		s.out.begin(i+1, c.name, c.title)
		if failed = s.step(ctx, c); failed != nil {
			v.Failed, v.Error = c.name, failed.Error()
			break
		}
		v.Steps = append(v.Steps, c.name)
	}
	v.OK, v.Millis = failed == nil, time.Since(began).Milliseconds()
	if v.OK && s.keep {
		v.World = s.w.door()
	}
	s.out.finish(v)
	if v.World != nil {
		v.World.guide(s.out)
	}
	if failed != nil {
		return fmt.Errorf("step %s failed: %w", v.Failed, failed)
	}
	return nil
}

// step plays one chapter and prints its verdict.
func (s *story) step(ctx context.Context, c chapter) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	s.details = map[string]any{}
	mark := 0
	if s.w.tap != nil {
		mark = s.w.tap.mark()
	}
	began := time.Now()
	proof, err := c.play(s, ctx)
	r := result{Step: c.name, OK: err == nil, Millis: time.Since(began).Milliseconds(), Details: s.details}
	if err != nil {
		r.Error = err.Error()
	}
	if s.w.tap != nil {
		wire := weigh(s.w.tap.since(mark))
		s.details["wire"] = wire
		if wire.Envelopes > 0 {
			s.out.note("on the wire: %s", wire)
		}
	}
	s.out.end(r, proof)
	return err
}

// pair has alice write to bob by his name, and bob answer.
func (s *story) pair(ctx context.Context) (string, error) {
	alice, bob := s.w.alice, s.w.bob
	asked, err := s.say(ctx, alice, bob, parley.Text("Bob, the lighthouse keeper asks for you. Can we talk?"))
	if err != nil {
		return "", err
	}
	if _, err := s.say(ctx, bob, alice, parley.Reply(asked, "Gladly. Nobody but us can read this.")); err != nil {
		return "", err
	}
	// By now bob has met alice by her name, and his client shows her by it.
	heard, err := bob.Messages(ctx, alice.ens, 10)
	if err != nil {
		return "", err
	}
	if len(heard) != 2 || heard[0].From.Name != alice.ens || heard[0].Own || !heard[1].Own {
		return "", fmt.Errorf("bob's conversation with alice is %d messages, not hers and his", len(heard))
	}
	return "both messages arrived, from the right address, and were acknowledged end to end", nil
}

// say sends to a person by name, and waits until it is there and acknowledged.
func (s *story) say(ctx context.Context, from, to *person, c parley.Content) (id parley.MessageID, err error) {
	s.out.said(from.name, to.ens, c.Text)
	s.speak(utterance{from: from, to: to.ens, text: c.Text, heard: []*person{to}})
	r, err := from.Send(ctx, to.ens, c, parley.SendOptions{})
	if err != nil {
		return id, fmt.Errorf("%s writes to %s: %w", from.name, to.ens, err)
	}
	e, err := to.await(ctx, from.name+"'s message", func(e parley.Event) bool { return says(e, c.Text) })
	if err != nil {
		return id, err
	}
	if m := e.Message; m.ID != r.ID || m.From.Address != from.address().String() || m.Group != nil {
		return id, fmt.Errorf("%s got the message from %s", to.name, m.From)
	}
	if m, err := from.Wait(ctx, r.ID, parley.Delivered); err != nil {
		return id, fmt.Errorf("%s's message is %s: %w", from.name, m.State, err)
	}
	return r.ID, nil
}

// speak notes what is said.
func (s *story) speak(u utterance) {
	for _, p := range s.w.people() {
		if p != u.from && !slices.Contains(u.heard, p) {
			u.unread = append(u.unread, p)
		}
	}
	s.spoken = append(s.spoken, u)
	said, _ := s.details["said"].([]any)
	s.details["said"] = append(said, map[string]string{"from": u.from.ens, "to": u.to, "text": u.text})
}

// says reports whether an event is someone else's message with this text.
func says(e parley.Event, text string) bool {
	return e.Kind == parley.EventMessage && !e.Message.Own && e.Message.Content.Text == text
}

// group has alice make a group of all.
func (s *story) group(ctx context.Context) (string, error) {
	w := s.w
	g, err := w.alice.CreateGroup(ctx, groupName, []string{w.bob.ens, w.carol.ens}, parley.GroupOptions{})
	if err != nil {
		return "", err
	}
	s.groupID = g.ID
	for _, p := range []*person{w.bob, w.carol} {
		if _, err := p.await(ctx, "the group", changes(g.ID, "joined")); err != nil {
			return "", err
		}
	}
	if err := s.agree(ctx, w.alice, w.bob, w.carol); err != nil {
		return "", err
	}
	s.out.note("“%s”, epoch %d, with %s", groupName, g.Epoch, list(members(g)))
	return "all three are in the same epoch, with the same three members", nil
}

// changes matches an event of a group.
func changes(group, change string) func(parley.Event) bool {
	return func(e parley.Event) bool {
		return e.Kind == parley.EventGroup && e.Group != nil && e.Group.ID == group && e.Change == change
	}
}

func members(g parley.Group) []string {
	var all []string
	for _, m := range g.Members {
		all = append(all, m.String())
	}
	slices.Sort(all)
	return all
}

// agree verifies that the group is these people, and that they all are in the
// same epoch of it.
func (s *story) agree(ctx context.Context, people ...*person) error {
	var want []string
	for _, p := range people {
		want = append(want, p.address().String())
	}
	slices.Sort(want)
	var first parley.Group
	for i, p := range people {
		g, err := p.Group(ctx, s.groupID)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if i == 0 {
			first = g
		}
		var got []string
		for _, m := range g.Members {
			got = append(got, m.Address)
		}
		slices.Sort(got)
		switch {
		case g.Head != first.Head || g.Epoch != first.Epoch:
			return fmt.Errorf("%s is in epoch %d, %s in epoch %d", people[0].name, first.Epoch, p.name, g.Epoch)
		case !slices.Equal(got, want):
			return fmt.Errorf("to %s, the group is %s", p.name, strings.Join(members(g), ", "))
		case g.Name != groupName || g.Status != "active":
			return fmt.Errorf("to %s, the group is %q and %s", p.name, g.Name, g.Status)
		}
	}
	s.heads = append(s.heads, first.Head)
	s.details["epoch"], s.details["members"] = first.Epoch, len(first.Members)
	return nil
}

// talk has each of the three say something that the two others read.
func (s *story) talk(ctx context.Context) (string, error) {
	w := s.w
	all := []*person{w.alice, w.bob, w.carol}
	mark := w.tap.mark()
	lines := []line{
		{w.alice, "Welcome aboard. The fog comes in on Thursday."},
		{w.bob, "Then I take the northern pier."},
		{w.carol, "And I keep the lanterns. Who has the spare wick?"},
		{w.alice, "I do. Below the third stair."},
	}
	for _, line := range lines {
		if err := s.sayAll(ctx, line.from, all, line.text); err != nil {
			return "", err
		}
	}
	// The means of the later steps work: members open what was captured, and so
	// does a copy of carol's profile, which is kept for then.
	group, _, err := s.overheard(ctx, mark, len(lines))
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if err := opensAll(ctx, p, group); err != nil {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if s.hoard, err = w.keepCopy(ctx, w.carol, group); err != nil {
		return "", err
	}
	s.out.note("carol keeps a copy of her whole profile, to be safe")
	return "every message was read by the two others, and was its author's", nil
}

// sayAll writes to the group and waits until the others of it have read it.
func (s *story) sayAll(ctx context.Context, from *person, members []*person, text string) error {
	s.out.said(from.name, "all", text)
	u := utterance{from: from, to: groupName, group: s.groupID, text: text}
	for _, p := range members {
		if p != from {
			u.heard = append(u.heard, p)
		}
	}
	s.speak(u)
	if _, err := from.SendGroup(ctx, groupName, parley.Text(text), parley.SendOptions{}); err != nil {
		return fmt.Errorf("%s writes to the group: %w", from.name, err)
	}
	for _, p := range u.heard {
		e, err := p.await(ctx, from.name+"'s words", func(e parley.Event) bool { return says(e, text) })
		if err != nil {
			return err
		}
		if m := e.Message; m.From.Address != from.address().String() || m.Group == nil || m.Group.ID != s.groupID {
			return fmt.Errorf("%s takes %s's words for %s's", p.name, from.name, m.From)
		}
	}
	return nil
}

// remove has alice remove carol.
func (s *story) remove(ctx context.Context) (string, error) {
	w := s.w
	mark := w.tap.mark()
	before, err := w.alice.Group(ctx, s.groupID)
	if err != nil {
		return "", err
	}
	if _, err := w.bob.RemoveMembers(ctx, groupName, []string{w.carol.ens}); !errors.Is(err, parley.ErrNotAdmin) {
		return "", fmt.Errorf("bob, who is no admin, removes carol: %v", err)
	}
	s.out.note("bob may not; alice, who made the group, removes carol.eth")
	after, err := w.alice.RemoveMembers(ctx, groupName, []string{w.carol.ens})
	if err != nil {
		return "", err
	}
	if _, err := w.bob.await(ctx, "the removal", changes(s.groupID, "removed")); err != nil {
		return "", err
	}
	if _, err := w.carol.await(ctx, "her removal", changes(s.groupID, "gone")); err != nil {
		return "", err
	}
	if after.Epoch != before.Epoch+1 {
		return "", fmt.Errorf("epoch %d follows epoch %d", after.Epoch, before.Epoch)
	}
	if err := s.agree(ctx, w.alice, w.bob); err != nil {
		return "", err
	}
	if _, err := w.carol.SendGroup(ctx, groupName, parley.Text("Still here?"), parley.SendOptions{}); !errors.Is(err, parley.ErrNotInGroup) {
		return "", fmt.Errorf("carol writes to the group: %v", err)
	}
	// What is captured from here on is of the epochs without her: wait for the
	// commit, which she could read, to be in.
	commit, _, err := s.overheard(ctx, mark, 1)
	if err != nil {
		return "", err
	}
	if err := opensAll(ctx, s.hoard, commit); err != nil {
		return "", fmt.Errorf("a copy of carol's profile, on the commit that removes her: %w", err)
	}
	s.removed, s.saidBefore = w.tap.mark(), len(s.spoken)
	s.details["removed"] = w.carol.ens
	return fmt.Sprintf("alice and bob are in epoch %d without her; her client knows, and cannot write", after.Epoch), nil
}

// update has bob replace his keys.
func (s *story) update(ctx context.Context) (string, error) {
	w := s.w
	before, err := w.bob.Group(ctx, s.groupID)
	if err != nil {
		return "", err
	}
	if err := w.bob.UpdateKeys(ctx, groupName); err != nil {
		return "", err
	}
	for _, p := range []*person{w.bob, w.alice} {
		e, err := p.await(ctx, "bob's new keys", changes(s.groupID, "updated"))
		if err != nil {
			return "", err
		}
		if len(e.Peers) != 1 || e.Peers[0].Address != w.bob.address().String() {
			return "", fmt.Errorf("to %s, the new keys are those of %v", p.name, e.Peers)
		}
		if e.Epoch != before.Epoch+1 {
			return "", fmt.Errorf("to %s, the new keys begin epoch %d, after %d", p.name, e.Epoch, before.Epoch)
		}
	}
	if err := s.agree(ctx, w.alice, w.bob); err != nil {
		return "", err
	}
	s.out.note("bob proposes, alice's client commits: epoch %d → %d", before.Epoch, before.Epoch+1)
	return fmt.Sprintf("both are in epoch %d, and know that it has new keys of bob's", before.Epoch+1), nil
}

// goesOn has the two talk on, and takes stock of everything said.
func (s *story) goesOn(ctx context.Context) (string, error) {
	w := s.w
	both := []*person{w.alice, w.bob}
	for _, line := range []line{
		{w.bob, "New keys in my pocket. Does the foghorn still answer?"},
		{w.alice, "Loud and clear. The harbour is ours."},
	} {
		if err := s.sayAll(ctx, line.from, both, line.text); err != nil {
			return "", err
		}
	}
	if _, err := s.checkCarol(ctx); err != nil {
		return "", err
	}
	if err := s.takeStock(); err != nil {
		return "", err
	}
	return fmt.Sprintf("all %d messages of the story were read once by those they were for, in order, and by nobody else", len(s.spoken)), nil
}

// takeStock verifies that each client has shown what it was to show, once and
// in order, and nothing else.
func (s *story) takeStock() error {
	for _, p := range s.w.people() {
		var want, got []string
		for _, u := range s.spoken {
			if slices.Contains(u.heard, p) {
				want = append(want, u.text)
			}
		}
		for _, e := range p.stream.all() {
			if e.Kind == parley.EventMessage && !e.Message.Own {
				got = append(got, e.Message.Content.Text)
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s has read %q, and was to read %q", p.name, got, want)
		}
		if d := p.Dropped(); d != (parley.Dropped{}) {
			return fmt.Errorf("%s's client dropped %+v", p.name, d)
		}
	}
	return nil
}
