package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

const (
	// MaxGatewayAnswer is the largest answer of a gateway in bytes of JSON.
	MaxGatewayAnswer = 1 << 20
	// gatewayTimeout bounds one gateway. The next one is tried after it.
	gatewayTimeout = 6 * time.Second
)

// gateways asks the servers that names point to (ERC-3668). Whoever owns a name
// chooses the URL, so this is a stranger who makes us send requests: only https,
// only to public addresses, checked after DNS when the connection is made; no
// redirects, no proxy (which would connect on our behalf, unchecked), no cookies.
type gateways struct {
	loopback bool // admit loopback addresses, and http to them
	client   *http.Client
}

func newGateways(loopback bool) *gateways {
	g := &gateways{loopback: loopback}
	dialer := &net.Dialer{Timeout: gatewayTimeout, Control: g.control}
	g.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    gatewayTimeout,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 64 << 10,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConns:           8,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
	return g
}

func (g *gateways) close() { g.client.CloseIdleConnections() }

// errGatewayPolicy is returned for a gateway that must not be asked.
var errGatewayPolicy = errors.New("identity: gateway is not on a public https address")

// control refuses a connection by the address that DNS gave, so that a second
// answer of DNS cannot differ from the one that was checked.
func (g *gateways) control(network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") || !g.allowedAddr(ap.Addr()) {
		return errGatewayPolicy
	}
	return nil
}

// notPublic are the blocks, beyond those that netip knows, that lead nowhere or
// to somewhere else than they seem (IANA special-purpose registries).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
	netip.MustParsePrefix("::/96"),           // IPv4-compatible: any IPv4 address
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64: any IPv4 address
	netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // Teredo and other assignments
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4: any IPv4 address
	netip.MustParsePrefix("3fff::/20"),       // documentation
	netip.MustParsePrefix("5f00::/16"),       // segment routing
	netip.MustParsePrefix("fec0::/10"),       // site-local
}

func (g *gateways) allowedAddr(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return g.loopback
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// allowedURL checks what can be seen before DNS.
func (g *gateways) allowedURL(u *url.URL) bool {
	if u.Host == "" || u.User != nil || u.Opaque != "" {
		return false
	}
	host := u.Hostname()
	a, err := netip.ParseAddr(host)
	if err == nil && !g.allowedAddr(a) {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		return g.loopback && (host == "localhost" || err == nil && a.Unmap().IsLoopback())
	}
	return false
}

// ask brings a look-up to its gateways, one after another, and returns the first
// answer. depth counts the batches it is in. It fails with an
// ErrNameUnavailable.
func (g *gateways) ask(ctx context.Context, l *offchainLookup, depth int) ([]byte, error) {
	if slices.Contains(l.urls, batchGatewayURL) {
		return g.askBatch(ctx, l.callData, depth+1)
	}
	err := errors.New("identity: no gateway is named")
	for _, template := range l.urls {
		var answer []byte
		var final bool
		answer, final, err = g.askOne(ctx, template, l)
		if err == nil {
			return answer, nil
		}
		if final || ctx.Err() != nil {
			break
		}
	}
	what := "no gateway of the name answers"
	switch {
	case ctx.Err() != nil:
		what, err = "the name's gateway did not answer in time", ctx.Err()
	case errors.Is(err, errGatewayPolicy):
		what = "the name's gateway is not on a public https address"
	}
	return nil, &unavailableError{what: what, err: err}
}

// askOne asks one gateway. final says that its refusal (a status of 4xx) stands
// for all of them.
func (g *gateways) askOne(ctx context.Context, template string, l *offchainLookup) (answer []byte, final bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	req, err := gatewayRequest(ctx, template, l)
	if err != nil {
		return nil, false, err
	}
	if !g.allowedURL(req.URL) {
		return nil, false, errGatewayPolicy
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, resp.StatusCode/100 == 4, fmt.Errorf("identity: gateway answered with HTTP status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxGatewayAnswer+1))
	if err != nil {
		return nil, false, err
	}
	answer, err = decodeGatewayAnswer(body)
	return answer, false, err
}

// gatewayRequest makes the request of ERC-3668: GET when the template has
// {data}, else POST.
func gatewayRequest(ctx context.Context, template string, l *offchainLookup) (*http.Request, error) {
	sender, data := hexutil.Encode(l.sender[:]), hexutil.Encode(l.callData)
	if strings.Contains(template, "{data}") {
		target := strings.NewReplacer("{sender}", sender, "{data}", data).Replace(template)
		return http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	}
	body, err := json.Marshal(struct {
		Data   string `json:"data"`
		Sender string `json:"sender"`
	}{data, sender})
	if err != nil {
		return nil, err
	}
	target := strings.ReplaceAll(template, "{sender}", sender)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// decodeGatewayAnswer reads {"data": "0x…"}.
func decodeGatewayAnswer(body []byte) ([]byte, error) {
	if len(body) > MaxGatewayAnswer {
		return nil, errAnswerTooLarge
	}
	var answer struct {
		Data *hexutil.Bytes `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errors.New("identity: gateway's answer is not the JSON of ERC-3668")
	}
	if answer.Data == nil {
		return nil, errors.New("identity: gateway's answer has no data")
	}
	return *answer.Data, nil
}
