package identity

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/parley-im/parley/internal/devchain"
)

// onBothChains runs a test on a chain where names are resolved through the
// registry, and on one where a universal resolver does it.
func onBothChains(t *testing.T, test func(*testing.T, *devchain.Chain)) {
	for _, universal := range []bool{false, true} {
		t.Run(map[bool]string{false: "registry", true: "universal"}[universal], func(t *testing.T) {
			test(t, startChain(t, universal))
		})
	}
}

func startChain(t *testing.T, universal bool) *devchain.Chain {
	t.Helper()
	c, err := devchain.StartWith(t.Context(), devchain.Options{UniversalResolver: universal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dialENS(t *testing.T, url string, opts *ENSOptions) *ENS {
	t.Helper()
	e, err := DialENS(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onlyKind checks that an error is one of the three kinds, and not another.
func onlyKind(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range []error{ErrNameNotFound, ErrNameUnavailable, ErrNameInvalid} {
		if errors.Is(err, kind) != (kind == want) {
			t.Errorf("error %q: want only %q", err, want)
		}
	}
}

var (
	alice = common.HexToAddress("0xa11ce00000000000000000000000000000000001")
	bob   = common.HexToAddress("0xb0b0000000000000000000000000000000000002")
)

func TestENS(t *testing.T) { onBothChains(t, testENS) }

func testENS(t *testing.T, chain *devchain.Chain) {
	ctx := t.Context()
	must(t, chain.RegisterName(ctx, "alice.eth", alice))
	must(t, chain.RegisterName(ctx, "bob.eth", bob))
	e := dialENS(t, chain.URL(), nil)

	for _, name := range []string{"alice.eth", "Alice.ETH", "ALICE.eth"} {
		if a, err := e.Resolve(ctx, name); err != nil || a != Address(alice) {
			t.Errorf("%s is %v, %v", name, a, err)
		}
	}
	if name, err := e.Reverse(ctx, Address(bob)); err != nil || name != "bob.eth" {
		t.Errorf("bob's address is %q, %v", name, err)
	}

	for _, name := range []string{"nobody.eth", "sub.alice.eth", "alice.xyz"} {
		_, err := e.Resolve(ctx, name)
		onlyKind(t, err, ErrNameNotFound)
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error %q does not say which name", err)
		}
	}
	_, err := e.Reverse(ctx, Address{1})
	onlyKind(t, err, ErrNameNotFound)
	for _, name := range []string{"bob", "", "bob..eth", "b ob.eth", "bоb.eth"} { // the last has a Cyrillic o
		_, err := e.Resolve(ctx, name)
		onlyKind(t, err, ErrNameInvalid)
	}

	// A registered name whose address was taken away.
	must(t, chain.SetAddr(ctx, "bob.eth", common.Address{}))
	_, err = e.Resolve(ctx, "bob.eth")
	onlyKind(t, err, ErrNameNotFound)
	// Only the record of EIP-2304, of a length that is no address.
	must(t, chain.SetCoinAddr(ctx, "bob.eth", 60, []byte{1, 2, 3}))
	_, err = e.Resolve(ctx, "bob.eth")
	onlyKind(t, err, ErrNameNotFound)
	must(t, chain.SetCoinAddr(ctx, "bob.eth", 60, bob[:]))
	if a, err := e.Resolve(ctx, "bob.eth"); err != nil || a != Address(bob) {
		t.Errorf("bob.eth is %v, %v", a, err)
	}

	// Resolvers that are no resolvers: an account without code, a contract that
	// knows none of the questions.
	for _, at := range []common.Address{alice, devchain.Registry} {
		must(t, chain.SetResolver(ctx, "odd.eth", at))
		_, err = e.Resolve(ctx, "odd.eth")
		onlyKind(t, err, ErrNameNotFound)
	}
}

// A reverse record is a claim that anyone can make.
func TestReverseThatLies(t *testing.T) { onBothChains(t, testReverseThatLies) }

func testReverseThatLies(t *testing.T, chain *devchain.Chain) {
	ctx := t.Context()
	must(t, chain.RegisterName(ctx, "alice.eth", alice))
	e := dialENS(t, chain.URL(), nil)
	for _, claim := range []string{"alice.eth", "nobody.eth", "ALICE.eth", "alice", "аlice.eth", "", "a\x1b[2Jb.eth", strings.Repeat("a", 500) + ".eth"} {
		must(t, chain.SetReverse(ctx, bob, claim))
		name, err := e.Reverse(ctx, Address(bob))
		if name != "" {
			t.Errorf("claim %q was believed", claim)
		}
		onlyKind(t, err, ErrNameNotFound)
	}
	// A claim that leads back, but is not what would be shown.
	must(t, chain.RegisterName(ctx, "bob.eth", bob))
	for claim, want := range map[string]string{"BOB.eth": "", "bob.eth": "bob.eth"} {
		must(t, chain.SetReverse(ctx, bob, claim))
		if name, err := e.Reverse(ctx, Address(bob)); name != want || (err == nil) != (want != "") {
			t.Errorf("claim %q: %q, %v", claim, name, err)
		}
	}
	if name, err := e.Reverse(ctx, Address(alice)); err != nil || name != "alice.eth" {
		t.Errorf("alice's address is %q, %v", name, err)
	}
}

func TestWildcard(t *testing.T) { onBothChains(t, testWildcard) }

func testWildcard(t *testing.T, chain *devchain.Chain) {
	ctx := t.Context()
	must(t, chain.SetResolver(ctx, "wild.eth", devchain.WildcardResolver))
	e := dialENS(t, chain.URL(), nil)
	for _, name := range []string{"wild.eth", "one.wild.eth", "deep.one.wild.eth"} {
		a, err := e.Resolve(ctx, name)
		if err != nil || common.Address(a) != devchain.WildcardAddress(name) {
			t.Errorf("%s is %v, %v", name, a, err)
		}
	}
	// A name's own resolver comes first.
	must(t, chain.RegisterName(ctx, "own.wild.eth", alice))
	if a, err := e.Resolve(ctx, "own.wild.eth"); err != nil || a != Address(alice) {
		t.Errorf("own.wild.eth is %v, %v", a, err)
	}
	_, err := e.Resolve(ctx, "tame.eth")
	onlyKind(t, err, ErrNameNotFound)
}

// gateway is an ERC-3668 server for OffchainResolver: every name is at.
type gateway struct {
	chain *devchain.Chain
	at    common.Address
	asked atomic.Int32
	posts atomic.Int32
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	question := r.URL.Query().Get("data")
	if r.Method == http.MethodPost {
		g.posts.Add(1)
		var body struct{ Data, Sender string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || common.HexToAddress(body.Sender) != devchain.OffchainResolver {
			http.Error(w, "bad body", http.StatusBadRequest)
			return
		}
		question = body.Data
	}
	data, err := hexutil.Decode(question)
	if err != nil {
		http.Error(w, "bad data", http.StatusBadRequest)
		return
	}
	if _, _, err := devchain.DecodeQuestion(data); err != nil {
		http.Error(w, "bad question", http.StatusBadRequest)
		return
	}
	answer, err := g.chain.SignAnswer(data, common.LeftPadBytes(g.at[:], 32))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"data": %q}`, hexutil.Encode(answer))
}

func TestOffchain(t *testing.T) { onBothChains(t, testOffchain) }

func testOffchain(t *testing.T, chain *devchain.Chain) {
	ctx := t.Context()
	must(t, chain.SetResolver(ctx, "off.eth", devchain.OffchainResolver))
	g := &gateway{chain: chain, at: alice}
	server := httptest.NewServer(g)
	defer server.Close()
	get, post := server.URL+"/{sender}?data={data}", server.URL+"/{sender}"

	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":"0x1234"}`)
	}))
	defer wrong.Close()
	status := func(code int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	teapot, broken := status(http.StatusTeapot), status(http.StatusBadGateway)
	redirect := httptest.NewServer(http.RedirectHandler(post, http.StatusTemporaryRedirect))
	defer redirect.Close()
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":"0x`)
		for range 64 {
			if _, err := fmt.Fprint(w, strings.Repeat("00", 1<<15)); err != nil {
				return
			}
		}
		fmt.Fprint(w, `"}`)
	}))
	defer huge.Close()

	e := dialENS(t, chain.URL(), &ENSOptions{AllowLoopbackGateways: true})
	for _, c := range []struct {
		name string
		gw   devchain.Gateway
		ok   bool
	}{
		{"get", devchain.Gateway{URLs: []string{get}}, true},
		{"post", devchain.Gateway{URLs: []string{post}}, true},
		{"four look-ups", devchain.Gateway{URLs: []string{get}, Hops: MaxLookups}, true},
		{"five look-ups", devchain.Gateway{URLs: []string{get}, Hops: MaxLookups + 1}, false},
		{"look-ups for ever", devchain.Gateway{URLs: []string{get}, Hops: 1 << 40}, false},
		{"second gateway", devchain.Gateway{URLs: []string{broken, "gopher://x", "https://10.0.0.1/", get}}, true},
		{"4xx is final", devchain.Gateway{URLs: []string{teapot, get}}, false},
		{"no gateway", devchain.Gateway{}, false},
		{"all broken", devchain.Gateway{URLs: []string{broken}}, false},
		{"redirect", devchain.Gateway{URLs: []string{redirect.URL}}, false},
		{"huge answer", devchain.Gateway{URLs: []string{huge.URL}}, false},
		{"refused by the callback", devchain.Gateway{URLs: []string{wrong.URL}}, false},
		{"another's error", devchain.Gateway{URLs: []string{get}, Sender: devchain.PublicResolver}, false},
		{"too many gateways", devchain.Gateway{URLs: strings.Split(strings.Repeat(get+" ", MaxGatewayURLs)+get, " ")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, chain.SetGateway(ctx, c.gw))
			before := g.asked.Load()
			a, err := e.Resolve(ctx, "any.off.eth")
			if asked := g.asked.Load() - before; asked > MaxLookups {
				t.Errorf("the gateway was asked %d times", asked)
			}
			if !c.ok {
				onlyKind(t, err, ErrNameUnavailable)
				return
			}
			if err != nil || a != Address(alice) {
				t.Errorf("any.off.eth is %v, %v", a, err)
			}
		})
	}
	if g.posts.Load() == 0 {
		t.Error("no POST was seen")
	}

	// Without the option the same gateway is never asked.
	must(t, chain.SetGateway(ctx, devchain.Gateway{URLs: []string{get, post, strings.Replace(get, "http:", "https:", 1)}}))
	before := g.asked.Load()
	_, err := dialENS(t, chain.URL(), nil).Resolve(ctx, "any.off.eth")
	onlyKind(t, err, ErrNameUnavailable)
	if !errors.Is(err, errGatewayPolicy) || g.asked.Load() != before {
		t.Errorf("a loopback gateway was asked: %v", err)
	}

	// The gateway knows the name and says it has no address.
	g.at = common.Address{}
	must(t, chain.SetGateway(ctx, devchain.Gateway{URLs: []string{get}}))
	_, err = e.Resolve(ctx, "any.off.eth")
	onlyKind(t, err, ErrNameNotFound)
}

// A gateway that hangs costs the time of the caller's context, and no more.
func TestGatewayThatHangs(t *testing.T) { onBothChains(t, testGatewayThatHangs) }

func testGatewayThatHangs(t *testing.T, chain *devchain.Chain) {
	must(t, chain.SetResolver(t.Context(), "off.eth", devchain.OffchainResolver))
	asked := make(chan struct{}, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	must(t, chain.SetGateway(t.Context(), devchain.Gateway{URLs: []string{server.URL + "/?{data}", server.URL + "/?{data}"}}))
	e := dialENS(t, chain.URL(), &ENSOptions{AllowLoopbackGateways: true})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := e.Resolve(ctx, "off.eth")
	onlyKind(t, err, ErrNameUnavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v hides the cancellation", err)
	}
}

func TestGatewayPolicy(t *testing.T) {
	public, dev := newGateways(false), newGateways(true)
	for _, c := range []struct {
		url         string
		public, dev bool
	}{
		{"https://gateway.example/{sender}", true, true},
		{"https://8.8.8.8/", true, true},
		{"https://[2606:4700::1111]/", true, true},
		{"http://gateway.example/", false, false},
		{"http://127.0.0.1:80/", false, true},
		{"http://[::1]:80/", false, true},
		{"http://localhost/", false, true},
		{"https://127.0.0.1/", false, true},
		{"https://[::ffff:127.0.0.1]/", false, true},
		{"https://10.1.2.3/", false, false},
		{"https://192.168.1.1/", false, false},
		{"https://172.16.0.1/", false, false},
		{"https://169.254.169.254/latest/meta-data/", false, false},
		{"https://100.64.0.1/", false, false},
		{"https://0.0.0.0/", false, false},
		{"https://[fe80::1]/", false, false},
		{"https://[fd00::1]/", false, false},
		{"https://[64:ff9b::7f00:1]/", false, false},
		{"https://[::7f00:1]/", false, false},
		{"https://[::a00:1]/", false, false},
		{"https://[3fff::1]/", false, false},
		{"https://[::ffff:10.0.0.1]/", false, false},
		{"https://224.0.0.1/", false, false},
		{"https://255.255.255.255/", false, false},
		{"https://user:pass@gateway.example/", false, false},
		{"file:///etc/passwd", false, false},
		{"ftp://gateway.example/", false, false},
		{"https:gateway.example", false, false},
		{"https:///path", false, false},
		{"", false, false},
	} {
		req, err := gatewayRequest(t.Context(), c.url, &offchainLookup{})
		if err != nil {
			t.Fatal(err)
		}
		if got := public.allowedURL(req.URL); got != c.public {
			t.Errorf("%s: allowed %v", c.url, got)
		}
		if got := dev.allowedURL(req.URL); got != c.dev {
			t.Errorf("%s with loopback: allowed %v", c.url, got)
		}
	}
	// After DNS, whatever the URL said.
	for addr, want := range map[string]bool{
		"8.8.8.8:443": true, "127.0.0.1:443": false, "[::1]:443": false, "10.0.0.1:443": false,
		"[fe80::1%lo]:443": false, "[::ffff:192.168.0.1]:443": false, "nonsense": false,
	} {
		if err := public.control("tcp", addr, nil); (err == nil) != want {
			t.Errorf("connection to %s: %v", addr, err)
		}
	}
	if public.control("udp", "8.8.8.8:443", nil) == nil {
		t.Error("connection over UDP was allowed")
	}
}

// rpcRequest is a JSON-RPC request, as much of it as the tests look at.
type rpcRequest struct {
	ID     json.RawMessage
	Method string
}

// rpcServer answers every JSON-RPC request with what reply writes.
func rpcServer(t *testing.T, reply func(w http.ResponseWriter, r *http.Request, req rpcRequest)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req rpcRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		w.Header().Set("Content-Type", "application/json")
		reply(w, r, req)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHostileRPC(t *testing.T) {
	text := func(s string) func(http.ResponseWriter, *http.Request, rpcRequest) {
		return func(w http.ResponseWriter, _ *http.Request, req rpcRequest) {
			fmt.Fprint(w, strings.ReplaceAll(s, "ID", string(req.ID)))
		}
	}
	result := func(s string) func(http.ResponseWriter, *http.Request, rpcRequest) {
		return text(`{"jsonrpc":"2.0","id":ID,"result":` + s + `}`)
	}
	fill := func(length bool) func(http.ResponseWriter, *http.Request, rpcRequest) {
		return func(w http.ResponseWriter, _ *http.Request, req rpcRequest) {
			if length {
				w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<40))
			}
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":"0x`, req.ID)
			chunk := []byte(strings.Repeat("00", 1<<15))
			for range 1 << 10 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	for name, reply := range map[string]func(http.ResponseWriter, *http.Request, rpcRequest){
		"empty":            text(""),
		"garbage":          text("\x00\xff garbage"),
		"html":             text("<html>hello</html>"),
		"array":            text("[]"),
		"deep":             text(strings.Repeat("[", 100_000)),
		"no result":        text(`{"jsonrpc":"2.0","id":ID}`),
		"null":             result("null"),
		"number":           result("17"),
		"odd hex":          result(`"0x123"`),
		"short":            result(`"0x1234"`),
		"truncated":        text(`{"jsonrpc":"2.0","id":ID,"result":"0x00`),
		"huge":             fill(false),
		"huge by length":   fill(true),
		"internal error":   text(`{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"boom"}}`),
		"rate limit":       text(`{"jsonrpc":"2.0","id":ID,"error":{"code":429,"message":"slow down"}}`),
		"not synced":       text(`{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"header not found"}}`),
		"registry reverts": text(`{"jsonrpc":"2.0","id":ID,"error":{"code":3,"message":"execution reverted","data":"0x"}}`),
		"no registry":      result(`"0x"`),
		"status 500":       func(w http.ResponseWriter, _ *http.Request, _ rpcRequest) { w.WriteHeader(500) },
		"status 401":       func(w http.ResponseWriter, _ *http.Request, _ rpcRequest) { w.WriteHeader(401) },
		"redirect": func(w http.ResponseWriter, r *http.Request, _ rpcRequest) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
		"hang up": func(http.ResponseWriter, *http.Request, rpcRequest) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			e := dialENS(t, rpcServer(t, reply), nil)
			a, err := e.Resolve(t.Context(), "alice.eth")
			if !a.IsZero() {
				t.Errorf("resolved to %v", a)
			}
			onlyKind(t, err, ErrNameUnavailable)
			if err != nil && (len(err.Error()) > 200 || strings.Contains(err.Error(), "127.0.0.1")) {
				t.Errorf("error text holds what the endpoint sent, or its URL: %q", err)
			}
			if _, err = e.Reverse(t.Context(), Address(alice)); !errors.Is(err, ErrNameUnavailable) {
				t.Errorf("reverse: %v", err)
			}
		})
	}
}

// The resolver's answer is the name owner's choice, and can be anything too.
func TestHostileResolver(t *testing.T) {
	word := func(v uint64) string { return fmt.Sprintf("%064x", v) }
	lookup := hex.EncodeToString(selOffchainLookup[:])
	for name, c := range map[string]struct {
		answer string // of everything but the registry
		want   error
	}{
		"empty":             {`"result":"0x"`, ErrNameNotFound},
		"dirty address":     {`"result":"0x` + strings.Repeat("ff", 32) + `"`, ErrNameNotFound},
		"zero":              {`"result":"0x` + word(0) + `"`, ErrNameNotFound},
		"extended, nothing": {`"result":"0x` + word(1) + `"`, ErrNameNotFound},
		"bare revert":       {`"error":{"code":-32000,"message":"execution reverted"}`, ErrNameNotFound},
		"revert":            {`"error":{"code":3,"message":"no","data":"0x08c379a0"}`, ErrNameNotFound},
		"another code":      {`"error":{"code":-32015,"message":"VM execution error.","data":"Reverted 0x08c379a0"}`, ErrNameNotFound},
		"lookup, empty":     {`"error":{"code":3,"message":"no","data":"0x` + lookup + `"}`, ErrNameUnavailable},
		"lookup, garbage":   {`"error":{"code":3,"message":"no","data":"0x` + lookup + strings.Repeat("ff", 320) + `"}`, ErrNameUnavailable},
		"lookup, huge":      {`"error":{"code":3,"message":"no","data":"0x` + lookup + strings.Repeat("00", MaxLookup) + `"}`, ErrNameUnavailable},
		"node error":        {`"error":{"code":-32000,"message":"out of memory"}`, ErrNameUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			url := rpcServer(t, func(w http.ResponseWriter, _ *http.Request, req rpcRequest) {
				if req.Method == "eth_getCode" { // is there a universal resolver?
					fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":"0x"}`, req.ID)
					return
				}
				calls++
				if calls%3 == 1 { // registry.resolver, supportsInterface, the question
					fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":"0x%s"}`, req.ID, word(0x1234))
					return
				}
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, req.ID, c.answer)
			})
			_, err := dialENS(t, url, nil).Resolve(t.Context(), "alice.eth")
			onlyKind(t, err, c.want)
		})
	}
}

func TestSlowRPC(t *testing.T) {
	arrived := make(chan struct{}, 16)
	hang := rpcServer(t, func(_ http.ResponseWriter, r *http.Request, _ rpcRequest) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	// One byte at a time, for ever.
	drip := rpcServer(t, func(w http.ResponseWriter, r *http.Request, _ rpcRequest) {
		arrived <- struct{}{}
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, " "); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	for _, url := range []string{hang, drip} {
		// The caller's context.
		e := dialENS(t, url, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		_, err := e.Resolve(ctx, "alice.eth")
		onlyKind(t, err, ErrNameUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v hides the cancellation", err)
		}
		// Our own timeout.
		e = dialENS(t, url, &ENSOptions{Timeout: 20 * time.Millisecond})
		_, err = e.Resolve(t.Context(), "alice.eth")
		onlyKind(t, err, ErrNameUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v hides the timeout", err)
		}
	}
}

func TestDialENS(t *testing.T) {
	for _, url := range []string{"", "stdio://", "ftp://host/", "http://", "://", "stdio:"} {
		if e, err := DialENS(t.Context(), url, nil); !errors.Is(err, ErrRPCURL) {
			if err == nil {
				e.Close()
			}
			t.Errorf("%q: %v", url, err)
		}
	}
	// Nobody listens.
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := dialENS(t, s.URL, nil).Resolve(t.Context(), "alice.eth")
	onlyKind(t, err, ErrNameUnavailable)
	_, err = DialENS(t.Context(), strings.Replace(s.URL, "http:", "ws:", 1), nil)
	onlyKind(t, err, ErrNameUnavailable)
	_, err = DialENS(t.Context(), t.TempDir()+"/no.ipc", nil)
	onlyKind(t, err, ErrNameUnavailable)
}

// NewENS works on a client that exists already, here one inside the process.
func TestNewENS(t *testing.T) {
	chain := startChain(t, false)
	must(t, chain.RegisterName(t.Context(), "alice.eth", alice))
	client, err := ethclient.Dial(chain.URL())
	must(t, err)
	e := NewENS(client, &ENSOptions{Timeout: time.Minute})
	defer e.Close()
	if a, err := e.Resolve(t.Context(), "alice.eth"); err != nil || a != Address(alice) {
		t.Errorf("alice.eth is %v, %v", a, err)
	}
}
