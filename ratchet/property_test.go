package ratchet

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// world is two devices and a network that loses, reorders and repeats.
type world struct {
	dev     [2]*device
	ids     []ID
	usable  [2]map[ID]bool // sessions a device can send on
	pending [2][]letter    // to be delivered to that device
	old     [2][]letter    // delivered before
	read    map[string]int
	index   [2]map[ID]map[TagEntry]bool
	sent    int
}

type letter struct {
	Message
	text string
	id   ID
}

const testWindow = 3

func (w *world) start(t *rapid.T, from int) {
	s, err := Initiate(w.dev[from].id, w.dev[from].ik, w.dev[1-from].bundle(), []byte("hello"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	w.ids = append(w.ids, s.ID())
	w.usable[from][s.ID()] = true
	w.track(t, from, s.ID(), nil, s)
	w.dev[from].save(s)
}

func (w *world) send(t *rapid.T, from int, id ID) {
	w.sent++
	text := fmt.Sprintf("%d from %d", w.sent, from)
	old := w.dev[from].load(id)
	m := w.dev[from].send(id, text)
	w.track(t, from, id, old, w.dev[from].load(id))
	w.pending[1-from] = append(w.pending[1-from], letter{m, text, id})
}

// deliver hands a letter that was not read yet to the device.
func (w *world) deliver(t *rapid.T, to int, l letter) {
	var old *Session
	if w.dev[to].sessions[l.id] != nil {
		old = w.dev[to].load(l.id)
	}
	id, text, err := w.dev[to].receive(l.Message, testTime)
	if err != nil || text != l.text || id != l.id {
		t.Fatalf("read %q, %v; want %q", text, err, l.text)
	}
	w.read[text]++
	w.usable[to][id] = true
	w.track(t, to, id, old, w.dev[to].load(id))
	w.old[to] = append(w.old[to], l)
}

// repeat hands it a letter that was read.
func (w *world) repeat(t *rapid.T, to int, l letter) {
	if _, text, err := w.dev[to].receive(l.Message, testTime); !errors.Is(err, ErrReplay) && !errors.Is(err, ErrDecrypt) {
		t.Fatalf("read again: %q, %v", text, err)
	}
}

// track keeps an index of tags by differences and compares it with a fresh one.
func (w *world) track(t *rapid.T, who int, id ID, old, s *Session) {
	if old == nil {
		w.index[who][id] = map[TagEntry]bool{}
	}
	index := w.index[who][id]
	add, drop := s.TagDiff(old, testWindow)
	for _, e := range drop {
		if !index[e] {
			t.Fatalf("drops %+v, which is not there", e)
		}
		delete(index, e)
	}
	for _, e := range add {
		if index[e] {
			t.Fatalf("adds %+v twice", e)
		}
		index[e] = true
	}
	want := map[TagEntry]bool{}
	for _, e := range s.ReceiveTags(testWindow) {
		want[e] = true
	}
	if !maps.Equal(index, want) {
		t.Fatalf("index by differences has %d entries, a fresh one %d", len(index), len(want))
	}
}

// Whatever the network does, each message is read once, or was lost.
func TestEachMessageIsReadOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{
			dev:    [2]*device{newDevice(t, "alice"), newDevice(t, "bob")},
			usable: [2]map[ID]bool{{}, {}}, read: map[string]int{},
			index: [2]map[ID]map[TagEntry]bool{{}, {}},
		}
		w.start(rt, 0)
		lost := 0
		take := func(rt *rapid.T, list *[]letter) (letter, bool) {
			if len(*list) == 0 {
				return letter{}, false
			}
			i := rapid.IntRange(0, len(*list)-1).Draw(rt, "letter")
			l := (*list)[i]
			*list = append((*list)[:i:i], (*list)[i+1:]...)
			return l, true
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			who := rapid.IntRange(0, 1).Draw(rt, "who")
			switch action := rapid.IntRange(0, 9).Draw(rt, "action"); action {
			case 0:
				if len(w.ids) < 3 {
					w.start(rt, who)
				}
			case 1, 2, 3, 4:
				id := w.ids[rapid.IntRange(0, len(w.ids)-1).Draw(rt, "session")]
				if w.usable[who][id] {
					w.send(rt, who, id)
				}
			case 5, 6, 7:
				if l, ok := take(rt, &w.pending[who]); ok {
					w.deliver(rt, who, l)
				}
			case 8:
				if len(w.old[who]) > 0 {
					w.repeat(rt, who, w.old[who][rapid.IntRange(0, len(w.old[who])-1).Draw(rt, "letter")])
				}
			case 9:
				if _, ok := take(rt, &w.pending[who]); ok {
					lost++
				}
			}
		}
		for who := range 2 {
			for {
				l, ok := take(rt, &w.pending[who])
				if !ok {
					break
				}
				w.deliver(rt, who, l)
			}
			for _, l := range w.old[who] {
				w.repeat(rt, who, l)
			}
		}
		for text, n := range w.read {
			if n != 1 {
				rt.Fatalf("%q was read %d times", text, n)
			}
		}
		if len(w.read) != w.sent-lost {
			rt.Fatalf("read %d of %d messages, %d lost", len(w.read), w.sent, lost)
		}
	})
}

// The tag of a message in turn is in the index, and says which one it is.
func TestTagsAreExpected(t *testing.T) {
	a, b, id := pair(t)
	for i := range 50 {
		m := a.send(id, "x")
		if i%7 == 3 {
			continue // lost
		}
		found := false
		for _, e := range b.load(id).ReceiveTags(2) {
			found = found || e.Tag == m.Tag
		}
		if !found {
			t.Fatalf("message %d is not expected", i)
		}
		b.expect(m, "x")
		if i%5 == 0 {
			a.expect(b.send(id, "y"), "y")
		}
	}
	if n := len(b.load(id).ReceiveTags(MaxWindow + 50)); n != 2*MaxWindow {
		t.Errorf("a large window gives %d tags", n)
	}
	if n := len(b.load(id).ReceiveTags(-1)); n != 0 {
		t.Errorf("a negative window gives %d tags", n)
	}
}
