package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// result is what a step came to: a line of the JSON output.
type result struct {
	Step    string         `json:"step"`
	OK      bool           `json:"ok"`
	Millis  int64          `json:"ms"`
	Error   string         `json:"error,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

// verdict is the last line of the JSON output.
type verdict struct {
	OK     bool     `json:"ok"`
	Steps  []string `json:"steps"` // those that were verified
	Failed string   `json:"failed,omitempty"`
	Error  string   `json:"error,omitempty"`
	Millis int64    `json:"ms"`
	World  *door    `json:"world,omitempty"` // with --keep
}

// printer shows a story as it is played: as a transcript for people, styled on
// a terminal and plain elsewhere, or as JSON.
type printer struct {
	w    io.Writer
	json bool
	styles
}

type styles struct {
	title, number, good, bad, faint, quote lipgloss.Style
	who                                    map[string]lipgloss.Style
}

func newPrinter(w io.Writer, json bool) *printer {
	p := &printer{w: w, json: json}
	if !styled(w) {
		return p
	}
	color := func(c string) lipgloss.Style { return lipgloss.NewStyle().Foreground(lipgloss.Color(c)) }
	p.styles = styles{
		title: lipgloss.NewStyle().Bold(true), number: color("8"), faint: color("8"),
		good: color("2"), bad: color("1").Bold(true), quote: lipgloss.NewStyle(),
		who: map[string]lipgloss.Style{
			"alice": color("5").Bold(true), "bob": color("4").Bold(true), "carol": color("3").Bold(true),
		},
	}
	return p
}

// styled reports whether colours are welcome.
func styled(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// text prints a line of the transcript, in as many colours as there are.
func (p *printer) text(format string, args ...any) {
	if !p.json {
		lipgloss.Fprintf(p.w, format+"\n", args...)
	}
}

// object prints a line of JSON.
func (p *printer) object(v any) {
	if p.json {
		// Writing to the terminal or pipe may fail; there is nobody to tell.
		_ = json.NewEncoder(p.w).Encode(v)
	}
}

// begin heads a step.
func (p *printer) begin(n int, name, title string) {
	p.text("")
	p.text("%s %s%s", p.number.Render(fmt.Sprintf("%2d", n)), p.title.Render(name),
		p.faint.Render(" · "+title))
}

// said prints what somebody says, and to whom.
func (p *printer) said(from, to, text string) {
	who := p.who[from].Render(fmt.Sprintf("%5s", from))
	p.text("   %s → %s %s", who, p.faint.Render(fmt.Sprintf("%-9s", to)), p.quote.Render("“"+text+"”"))
}

// note prints a line about what happens.
func (p *printer) note(format string, args ...any) {
	p.text("   %s", p.faint.Render(fmt.Sprintf(format, args...)))
}

// warn prints what a client warns of.
func (p *printer) warn(format string, args ...any) {
	p.text("   %s", p.bad.Render("! "+fmt.Sprintf(format, args...)))
}

// end prints the verdict on a step.
func (p *printer) end(r result, what string) {
	p.object(r)
	took := time.Duration(r.Millis) * time.Millisecond
	if r.OK {
		p.text("   %s %s %s", p.good.Render("✓"), what, p.faint.Render(seconds(took)))
		return
	}
	p.text("   %s %s %s", p.bad.Render("✗"), p.bad.Render(r.Error), p.faint.Render(seconds(took)))
}

// finish prints the verdict on the story.
func (p *printer) finish(v verdict) {
	p.object(v)
	p.text("")
	if v.OK {
		p.text("%s", p.good.Render(fmt.Sprintf("All %d steps verified in %.2f s.", len(v.Steps), float64(v.Millis)/1000)))
		return
	}
	p.text("%s", p.bad.Render(fmt.Sprintf("The story failed at %q; %d steps before it were verified.", v.Failed, len(v.Steps))))
}

func seconds(d time.Duration) string { return fmt.Sprintf("(%.2f s)", d.Seconds()) }

// list joins words as a sentence does.
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return "nobody"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}
