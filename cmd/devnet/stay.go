package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	parley "github.com/parley-im/parley"
)

// door is what a newcomer needs to join the world.
type door struct {
	RPC       string   `json:"rpc"`
	Network   string   `json:"network"`
	Bootstrap []string `json:"bootstrap"`
	Dir       string   `json:"dir"`
}

func (w *world) door() *door {
	return &door{RPC: w.chain.URL(), Network: network, Bootstrap: w.alice.info.Addrs, Dir: w.dir}
}

// guide prints the lines to paste into a second terminal.
func (d *door) guide(out *printer) {
	out.text("")
	out.text("%s", out.title.Render("The world stays up until Ctrl-C. To join it, paste into a second terminal, in this folder:"))
	out.text("")
	for _, line := range []string{
		`go install ./cmd/parley; export PATH="$PATH:$(go env GOPATH)/bin"`,
		fmt.Sprintf("export PARLEY_PROFILE=%s PARLEY_PASSPHRASE=devnet", quote(filepath.Join(d.Dir, "you"))),
		fmt.Sprintf("export PARLEY_RPC=%s PARLEY_NETWORK=%s PARLEY_BOOTSTRAP=%s", d.RPC, d.Network, d.Bootstrap[0]),
		"parley init --new",
		"parley up & sleep 3",
		`parley send alice.eth "hello"`,
		"parley listen --since 0",
	} {
		out.text("  %s", line)
	}
	out.text("")
	out.text("%s", out.faint.Render("alice.eth, bob.eth and carol.eth answer, in pairs and in your groups."))
}

// quote makes a path one word of a shell.
func quote(path string) string {
	for _, r := range path {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("/._-+"), r)) {
			return "'" + path + "'"
		}
	}
	return path
}

// stayUp leaves the world up until the context ends. The three answer whoever
// else writes to them.
func (w *world) stayUp(ctx context.Context, out *printer) {
	var answering sync.WaitGroup
	var printing sync.Mutex
	for _, p := range w.people() {
		answering.Go(func() {
			for e, err := range p.Subscribe(ctx, p.cursor()) {
				if err != nil {
					return
				}
				if w.wantsAnswer(e) {
					p.answer(ctx, e.Message, func(format string, args ...any) {
						printing.Lock()
						defer printing.Unlock()
						out.text("   "+format, args...)
					})
				}
			}
		})
	}
	answering.Wait()
}

// answer thanks for a message, where it came from.
func (p *person) answer(ctx context.Context, m *parley.Message, print func(format string, args ...any)) {
	from, to := short(m.From), p.ens
	if m.Group != nil {
		to = fmt.Sprintf("%s in “%s”", p.ens, printable(m.Group.Name))
	}
	print("%s → %s “%s”", from, to, printable(m.Content.Text))
	answer := parley.Reply(m.ID, fmt.Sprintf("%s here. %d characters came through, sealed end to end. Thank you for writing!",
		p.ens, utf8.RuneCountInString(m.Content.Text)))
	var err error
	if m.Group != nil {
		_, err = p.SendGroup(ctx, m.Group.ID, answer, parley.SendOptions{})
	} else {
		_, err = p.Send(ctx, m.From.Address, answer, parley.SendOptions{})
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		print("%s cannot answer %s: %v", p.ens, from, err)
	default:
		print("%s → %s “%s”", to, from, answer.Text)
	}
}

// short is how a newcomer is shown: by name, or the ends of the address.
func short(p parley.Peer) string {
	if p.Name != "" {
		return p.Name
	}
	return p.Address[:6] + "…" + p.Address[len(p.Address)-4:]
}

// printable is a stranger's text, short and without what could move a cursor.
func printable(s string) string {
	const most = 200
	runes := []rune(s)
	if len(runes) > most {
		runes = append(runes[:most:most], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = unicode.ReplacementChar
		}
	}
	return string(runes)
}

// wantsAnswer reports whether an event is a newcomer's message, and not an
// answer by itself: two who are polite would never come to an end.
func (w *world) wantsAnswer(e parley.Event) bool {
	m := e.Message
	if e.Kind != parley.EventMessage || m.Own || m.Content.Kind != parley.KindText || m.Content.Ref != nil {
		return false
	}
	return !slices.ContainsFunc(w.people(), func(p *person) bool { return m.From.Address == p.address().String() })
}

// cursor is the place of the last event that was seen.
func (p *person) cursor() parley.Cursor {
	events := p.stream.all()
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].Cursor
}
