package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/identity"
)

// newDaemon serves a fresh profile that is on no network.
func newDaemon(t *testing.T) (*server, *remote) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "p")
	wallet, err := identity.GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	unlock := parley.Passphrase([]byte("pw"))
	if _, err := parley.Init(t.Context(), parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: wallet, FastKDF: true}); err != nil {
		t.Fatal(err)
	}
	c, err := parley.Open(t.Context(), parley.Options{Dir: dir, Unlock: unlock, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := serve(dir, c, c.Info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	r, err := dialDaemon(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return s, r
}

// TestWaitsForTheProfile: a command that comes while a daemon is on its way up
// waits for it, and takes a profile that another process lets go of.
func TestWaitsForTheProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	wallet, err := identity.GenerateWallet()
	if err != nil {
		t.Fatal(err)
	}
	unlock := parley.Passphrase([]byte("pw"))
	if _, err := parley.Init(t.Context(), parley.InitOptions{Dir: dir, Unlock: unlock, Wallet: wallet, FastKDF: true}); err != nil {
		t.Fatal(err)
	}
	type opened struct {
		backend
		err error
	}
	for name, next := range map[string]func(*testing.T, *parley.Client){
		"daemon": func(t *testing.T, c *parley.Client) {
			s, err := serve(dir, c, c.Info)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.close(); c.Close() })
		},
		"end": func(_ *testing.T, c *parley.Client) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			holder, err := parley.Open(t.Context(), parley.Options{Dir: dir, Unlock: unlock, Offline: true})
			if err != nil {
				t.Fatal(err)
			}
			a := &app{profile: dir, env: func(name string) string { return map[string]string{"PARLEY_PASSPHRASE": "pw"}[name] }}
			got := make(chan opened)
			go func() {
				b, err := a.open(t.Context(), local)
				got <- opened{b, err}
			}()
			time.Sleep(20 * lockAgain) // in which it has found the profile in use
			next(t, holder)
			o := <-got
			if o.err != nil {
				t.Fatal(o.err)
			}
			defer o.Close()
			if _, ok := o.backend.(*remote); ok != (name == "daemon") {
				t.Errorf("it has got a %T", o.backend)
			}
			if _, err := o.Info(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

const somebody = "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"

func TestSocketIsTheOwnersAlone(t *testing.T) {
	s, _ := newDaemon(t)
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket is %v", info.Mode())
	}
}

// TestGarbageOnSocket: whatever comes in, the daemon answers the next caller.
func TestGarbageOnSocket(t *testing.T) {
	s, r := newDaemon(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	noise := make([]byte, 64<<10)
	random.Read(noise)
	for name, in := range map[string][]byte{
		"random bytes":     noise,
		"random text":      []byte(strings.ToValidUTF8(string(noise), "?")),
		"nothing":          nil,
		"half a request":   []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_info","par`),
		"deep":             bytes.Repeat([]byte("["), 1<<20),
		"no object":        []byte("17 true null \"x\" [] [[]] [1,2] {}"),
		"no method":        []byte(`{"jsonrpc":"2.0","id":1}`),
		"unknown method":   []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_nonsense"}`),
		"wrong parameters": []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_send","params":[7,{"kind":9},false,null]}`),
		"few parameters":   []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_send","params":["` + somebody + `"]}`),
		"null parameters":  []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_send","params":[null,null,null]}`),
		"other channel":    []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_subscribe","params":["nonsense"]}`),
		"negative cursor":  []byte(`{"jsonrpc":"2.0","id":1,"method":"parley_subscribe","params":["events",-1]}`),
		"huge batch":       []byte("[" + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"parley_info"},`, 5000) + "{}]"),
		"long name":        []byte(`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 1<<20) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", s.path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			c.Write(in) // it may hang up on us
			c.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, c)
			if _, err := r.Info(t.Context()); err != nil {
				t.Fatalf("the daemon answers no more: %v", err)
			}
		})
	}
}

// TestHugeRequest: a request beyond the limit ends its connection, and costs no
// more memory than the limit says.
func TestHugeRequest(t *testing.T) {
	s, r := newDaemon(t)
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"parley_send","params":["`)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	sent := 0
	for ; sent < 256; sent++ {
		if _, err = c.Write(chunk); err != nil {
			break
		}
	}
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Errorf("the daemon has read %d MiB of one request", sent)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16*maxRequest {
		t.Errorf("%d MiB allocated for a request that is refused", grown>>20)
	}
	if _, err := r.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLargestContent: what a client may send fits a request.
func TestLargestContent(t *testing.T) {
	_, r := newDaemon(t)
	worst := strings.Repeat("\x01", parley.MaxContent-100) // six bytes each in JSON
	if _, err := r.Send(t.Context(), somebody, parley.Text(worst), parley.SendOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Send(t.Context(), somebody, parley.Text(strings.Repeat("x", parley.MaxContent)), parley.SendOptions{})
	if !errors.Is(err, parley.ErrTooLarge) {
		t.Errorf("a text of 1 MiB: %v", err)
	}
	all, err := r.Messages(t.Context(), somebody, 10)
	if err != nil || len(all) != 1 || all[0].Content.Text != worst {
		t.Errorf("%d messages, %v", len(all), err)
	}
}

// TestTooManyConnections: the limit holds, and is free again afterwards.
func TestTooManyConnections(t *testing.T) {
	s, r := newDaemon(t)
	var conns []net.Conn
	for range 2 * maxConns {
		c, err := net.Dial("unix", s.path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	last := conns[len(conns)-1]
	last.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err != io.EOF && !isReset(err) {
		t.Errorf("the connection beyond the limit: %v", err)
	}
	if _, err := r.Info(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range conns {
		c.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		fresh, err := dialDaemon(ctx, s.dir)
		if err == nil {
			_, err = fresh.Info(ctx)
			fresh.Close()
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// failingListener cannot accept, as when too many files are open.
type failingListener struct {
	net.Listener
	calls int
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.calls++
	return nil, syscall.EMFILE
}

// TestAcceptFails: it is tried again, and not without a pause.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		l := new(failingListener)
		s := &server{listener: l, stopped: ctx.Done()}
		s.work.Go(s.accept)
		time.Sleep(10*acceptAgain + acceptAgain/2)
		stop()
		s.work.Wait()
		if l.calls != 11 {
			t.Errorf("tried %d times in the time of 10 pauses", l.calls)
		}
	})
}

func isReset(err error) bool { return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) }

// TestErrorsKeepTheirKind: an error is the same over the socket.
func TestErrorsKeepTheirKind(t *testing.T) {
	_, r := newDaemon(t)
	ctx := t.Context()
	send := func(to string) error {
		_, err := r.Send(ctx, to, parley.Text("x"), parley.SendOptions{})
		return err
	}
	_, groupErr := r.Group(ctx, "ops")
	_, messageErr := r.Message(ctx, parley.NewMessageID())
	_, waitErr := r.Wait(ctx, parley.NewMessageID(), parley.Sent)
	_, stateErr := r.Wait(ctx, parley.NewMessageID(), "nonsense")
	_, safetyErr := r.SafetyNumber(ctx, somebody)
	_, limitErr := r.Messages(ctx, somebody, 0)
	for _, c := range []struct {
		what string
		err  error
		want error
		exit int
	}{
		{"name", send("bob.eth"), parley.ErrNoResolver, 4},
		{"no name", send("b ob.eth"), identity.ErrNameInvalid, 2},
		{"address", send("0x12"), identity.ErrAddress, 2},
		{"checksum", send("0x2b5AD5c4795c026514f8317c7a215E218DcCD6cF"), identity.ErrAddressChecksum, 2},
		{"group", groupErr, parley.ErrUnknownGroup, 3},
		{"message", messageErr, parley.ErrUnknownMessage, 3},
		{"wait", waitErr, parley.ErrUnknownMessage, 3},
		{"state", stateErr, errUsage, 2},
		{"safety number", safetyErr, parley.ErrNoRecord, 4},
		{"limit", limitErr, errUsage, 2},
		{"parameters", r.do(ctx, "send", 7), errUsage, 2},
		{"method", r.do(ctx, "nonsense"), errUsage, 2},
	} {
		if !errors.Is(c.err, c.want) || faultOf(c.err).exit() != c.exit {
			t.Errorf("%s: %v, exit %d; want %v, exit %d", c.what, c.err, faultOf(c.err).exit(), c.want, c.exit)
		}
	}
}

// TestFaultsAreDistinct: numbers and codes name one kind each, are in the
// specification, and every exit code is one that is explained.
func TestFaultsAreDistinct(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec.md")
	if err != nil {
		t.Fatal(err)
	}
	byNumber, byCode := map[int]string{}, map[string]int{}
	for _, f := range faults {
		if code, ok := byNumber[f.number]; ok && code != f.code {
			t.Errorf("%d is %s and %s", f.number, code, f.code)
		}
		if number, ok := byCode[f.code]; ok && number != f.number {
			t.Errorf("%s is %d and %d", f.code, number, f.number)
		}
		byNumber[f.number], byCode[f.code] = f.code, f.number
		if !bytes.Contains(spec, fmt.Appendf(nil, "\n| %d | %s |", f.number, f.code)) {
			t.Errorf("%d, %s, is not in docs/spec.md", f.number, f.code)
		}
		if !strings.Contains(exitCodes, fmt.Sprintf("\n  %d  ", f.exit())) {
			t.Errorf("exit code %d of %s is not explained", f.exit(), f.code)
		}
		if got := faultOf(&messageError{"text", f.err}); got.number != f.number {
			t.Errorf("%s is taken for %s", f.code, got.code)
		}
	}
}

// TestSubscriptionResumes: a cursor goes on where it was, and the events of one
// who reads slowly are not lost.
func TestSubscriptionResumes(t *testing.T) {
	s, r := newDaemon(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const n = 300
	for i := range n {
		if _, err := r.Send(ctx, somebody, parley.Text(fmt.Sprint(i)), parley.SendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var cursor parley.Cursor
	for i := 0; i < n; {
		again, err := dialDaemon(ctx, s.dir)
		if err != nil {
			t.Fatal(err)
		}
		taken := 0
		for e, err := range again.Subscribe(ctx, cursor) {
			if err != nil {
				t.Fatal(err)
			}
			cursor = e.Cursor
			if e.Kind != parley.EventMessage {
				continue
			}
			if e.Message.Content.Text != fmt.Sprint(i) {
				t.Fatalf("%q in place %d", e.Message.Content.Text, i)
			}
			i++
			if taken++; taken == 77 || i == n {
				break
			}
		}
		again.Close()
	}

	// The daemon ends: a subscriber is told.
	ended := make(chan error, 1)
	go func() {
		for _, err := range r.Subscribe(ctx, cursor) {
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	if _, err := r.Info(ctx); err != nil {
		t.Fatal(err)
	}
	s.close()
	if err := <-ended; !errors.Is(err, errDaemonGone) {
		t.Errorf("subscriber is told %v", err)
	}
	if _, err := r.Info(ctx); !errors.Is(err, errDaemonGone) {
		t.Errorf("caller is told %v", err)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, socketName)); err == nil {
		t.Error("the socket is left behind")
	}
}

// TestPlainProtocol speaks to the socket as another program would, without our
// client.
func TestPlainProtocol(t *testing.T) {
	s, _ := newDaemon(t)
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	ask := func(request string) (answer struct {
		ID     int             `json:"id"`
		Result json.RawMessage `json:"result"`
		Params struct {
			Result parley.Event `json:"result"`
		} `json:"params"`
		Error struct {
			Code int       `json:"code"`
			Data wireFault `json:"data"`
		} `json:"error"`
	},
	) {
		t.Helper()
		io.WriteString(c, request)
		line, err := in.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &answer)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return answer
	}
	sent := ask(`{"jsonrpc":"2.0","id":1,"method":"parley_send","params":["` + somebody + `","hello",{"idempotencyKey":"k"}]}`)
	var receipt parley.Receipt
	if err := json.Unmarshal(sent.Result, &receipt); err != nil || receipt.State != parley.Queued {
		t.Errorf("%s, %v", sent.Result, err)
	}
	again := ask(`{"jsonrpc":"2.0","id":2,"method":"parley_send","params":["` + somebody + `",{"kind":"text","text":"hello"},{"idempotencyKey":"k"}]}`)
	if string(again.Result) != string(sent.Result) {
		t.Errorf("%s is not %s", again.Result, sent.Result)
	}
	waited := ask(`{"jsonrpc":"2.0","id":3,"method":"parley_wait","params":["` + receipt.ID.String() + `","delivered",1]}`)
	if !strings.Contains(string(waited.Result), `"state":"queued"`) {
		t.Errorf("after 1 ms: %s", waited.Result)
	}
	if refused := ask(`{"jsonrpc":"2.0","id":4,"method":"parley_group","params":["ops"]}`); refused.Error.Code != 303 || refused.Error.Data.Code != "no_group" {
		t.Errorf("%+v", refused.Error)
	}
	ask(`{"jsonrpc":"2.0","id":5,"method":"parley_subscribe","params":["events"]}`)
	if e := ask("").Params.Result; e.Message == nil || e.Message.ID != receipt.ID {
		t.Errorf("%+v", e)
	}
}

// TestCallAfterTheEnd: a call whose words still find their way to a daemon that
// says nothing any more ends, and not with the caller's patience.
func TestCallAfterTheEnd(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *net.UnixConn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c.(*net.UnixConn)
		}
	}()
	r, err := dialDaemon(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	daemon := <-accepted
	defer daemon.Close()
	if err := daemon.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-r.conn.alive.Done()
	if _, err := r.Info(t.Context()); !errors.Is(err, errDaemonGone) {
		t.Errorf("a call: %v", err)
	}
	for _, err := range r.Subscribe(t.Context(), 0) {
		if !errors.Is(err, errDaemonGone) {
			t.Errorf("a subscription: %v", err)
		}
	}
}
