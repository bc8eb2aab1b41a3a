package parley

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-im/parley/groups"
)

// A group's name is its maker's choice: it does not take the place of a peer,
// of a group's id, or of another group.
func TestGroupNamesTakeNobodysPlace(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	alice.wait(alice.say("bob.eth", "in the pair"), Delivered)
	bob.wait(bob.say("alice.eth", "in the pair"), Delivered)
	mine, err := alice.CreateGroup(t.Context(), "ops", nil, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ops", mine.ID, "bob.eth", strings.Repeat("é", maxGroupName/2)} {
		if _, err := bob.CreateGroup(t.Context(), name, []string{"alice.eth"}, GroupOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	alice.until("the groups", func(es []Event) bool {
		n := 0
		for _, e := range es {
			if e.Change == "joined" {
				n++
			}
		}
		return n == 4
	})
	for _, ref := range []string{"ops", mine.ID} {
		if g, err := alice.Group(t.Context(), ref); err != nil || g.ID != mine.ID {
			t.Errorf("%q is group %s, %v; want %s", ref, g.ID, err, mine.ID)
		}
	}
	if ms, err := alice.Messages(t.Context(), "bob.eth", 10); err != nil || len(ms) != 2 {
		t.Errorf("with bob.eth there are %d messages, %v; want 2", len(ms), err)
	}
	all, err := alice.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, g := range all {
		if names[g.Name] || len(g.Name) > maxGroupName {
			t.Errorf("name %q is there twice, or too long", g.Name)
		}
		names[g.Name] = true
	}
}

// Who knows the id of a group that this client was in cannot bring it into
// another under that id; the one who made it can.
func TestOnlyTheInviterInvitesAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	g, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth", "carol.eth"}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	if _, err := alice.RemoveMembers(t.Context(), "ops", []string{"bob.eth"}); err != nil {
		t.Fatal(err)
	}
	bob.until("his removal", changed("gone"))
	id := []byte(nil)
	if err := bob.step(t.Context(), func(s *step) error {
		var err error
		if id, err = bob.groupID(t.Context(), "ops"); err != nil {
			return err
		}
		for account, want := range map[*person]bool{carol: false, alice: true} {
			if ok, err := s.mayInvite(account.account(), id); ok != want || err != nil {
				t.Errorf("%s may invite: %t, %v", account.name, ok, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Carol makes a group of her own under that id.
	invited, err := carol.invite(t.Context(), []string{"bob.eth"})
	if err != nil {
		t.Fatal(err)
	}
	rows := groups.MemoryRows{}
	fake, err := groups.Create(rows, groups.CreateOptions{GroupID: id, Credential: carol.credential(), Signer: carol.signer(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	staged, err := fake.Prepare(rows, groups.CommitOptions{Add: invited, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	before := bob.Dropped().Content
	account := bob.account()
	if err := carol.step(t.Context(), func(s *step) error {
		return s.enqueue(pairConv(account), &account, Content{Kind: kindWelcome, ID: NewMessageID(), Text: "ops", Data: staged.Welcome}, false)
	}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the welcome is not dropped", func() bool { return bob.Dropped().Content == before+1 })
	if now, err := bob.Group(t.Context(), "ops"); err != nil || now.Status != groupRemoved {
		t.Errorf("bob's group is %q, %v", now.Status, err)
	}
	// What was said meanwhile is not waited for when he is added again.
	for i := range 3 {
		alice.sayAll("ops", fmt.Sprint("without bob ", i))
	}
	carol.until("it", heard("without bob 2"))
	if _, err := alice.AddMembers(t.Context(), g.ID, []string{"bob.eth"}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group again", changed("joined"))
	alice.sayAll("ops", "with bob again")
	got := texts(bob.until("it", heard("with bob again")))
	if len(got) != 1 {
		t.Errorf("bob reads %v", got)
	}
	bob.sayAll("ops", "good to be back")
	carol.until("bob", heard("good to be back"))
}

// The creator's client is closed when a member proposes, and commits it when it
// is open again; another member leaves.
func TestProposalsWaitForTheCreator(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
	w.connected(alice, bob, carol)
	if _, err := bob.CreateGroup(t.Context(), "ops", []string{"alice.eth", "carol.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	alice.until("the group", changed("joined"))
	carol.until("the group", changed("joined"))
	w.acquainted("ops", alice, bob, carol)
	bob.Close()
	if err := alice.UpdateKeys(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	if err := carol.LeaveGroup(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	carol.sayAll("ops", "last words")
	alice.until("them", heard("last words"))
	bob.open()
	bob.until("last words", func(es []Event) bool { return slices.Contains(texts(es), "last words") })
	carol.until("her leave", changed("left"))
	alice.until("the removal", changed("removed"))
	w.eventually("alice's keys are not updated", func() bool { return alice.count(`SELECT COUNT(*) FROM intents`) == 0 })
	if _, err := carol.SendGroup(t.Context(), "ops", Text("x"), SendOptions{}); !errors.Is(err, ErrNotInGroup) {
		t.Errorf("carol writes: %v, want ErrNotInGroup", err)
	}
	alice.sayAll("ops", "two of us")
	bob.until("it", heard("two of us"))
}

// Eight members, who know each other from the group alone, all hear each other.
func TestGroupOfEight(t *testing.T) {
	w := newWorld(t)
	var all []*person
	var invited []string
	for i := range 8 {
		p := w.join(fmt.Sprint("member", i))
		if i > 0 {
			invited = append(invited, p.name+".eth")
		}
		all = append(all, p)
	}
	w.connected(all...)
	if _, err := all[0].CreateGroup(t.Context(), "ops", invited, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range all[1:] {
		p.until("the group", changed("joined"))
	}
	for _, p := range all {
		p.sayAll("ops", "hello from "+p.name)
	}
	for _, p := range all {
		got := texts(p.until("everyone", func(es []Event) bool { return len(texts(es)) >= len(all)-1 }))
		slices.Sort(got)
		if len(slices.Compact(got)) != len(all)-1 {
			t.Errorf("%s reads %v", p.name, got)
		}
	}
}
