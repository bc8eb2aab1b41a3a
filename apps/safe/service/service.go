package service

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley/apps/safe"
)

// Room is what the service needs of a Safe's room: *safe.Room is one. Whoever
// opens it keeps it up to date, with [safe.Room.Watch]: reads are answered from
// what it knows.
type Room interface {
	Account() safe.Account
	Snapshot() *safe.Snapshot
	Transactions() []*safe.Entry
	Transaction(common.Hash) (*safe.Entry, error)
	Messages() []*safe.MessageEntry
	Message(common.Hash) (*safe.MessageEntry, error)
	Propose(context.Context, *safe.Transaction, safe.ProposeOptions) (*safe.Entry, error)
	ProposeMessage(context.Context, *safe.Message, safe.ProposeOptions) (*safe.MessageEntry, error)
	Confirm(context.Context, common.Hash, ...safe.Signature) error
}

var _ Room = (*safe.Room)(nil)

// Options are the optional parts of a service; the zero value works.
type Options struct {
	// Version is what the service says of itself.
	Version string
	// Origins are of web pages, such as "https://app.example", that may use the
	// service. No page may if there are none.
	Origins []string
	// Logger gets the errors that clients are not told the whole of. Nil is silence.
	Logger *slog.Logger
}

// Limits on what a client can have the service do.
const (
	maxBody      = 256 << 10 // more than the longest proposal in hex, with its signatures
	maxHeader    = 16 << 10
	maxPage      = 200
	defaultPage  = 100
	writeTimeout = 90 * time.Second
	postTimeout  = 60 * time.Second // for telling the group
)

var (
	// ErrRooms is returned for rooms that one service cannot have together.
	ErrRooms = errors.New("service: rooms do not go together")
	// ErrNotLoopback is returned for a listener that others than this machine
	// can reach.
	ErrNotLoopback = errors.New("service: it is served on loopback alone")
)

// service answers requests. It is not changed once it is made.
type service struct {
	rooms []Room
	o     Options
}

// New returns the handler of the API below /api/, for rooms of different Safes
// on one chain. It returns [ErrRooms] for none or others.
//
// Requests are answered only under a loopback name, so that no web page gets
// here by a name of its own (DNS rebinding), and to no page of another origin
// than those in the options.
func New(rooms []Room, o Options) (http.Handler, error) {
	for i, r := range rooms {
		for _, other := range rooms[:i] {
			if r.Account() == other.Account() || r.Account().ChainID != other.Account().ChainID {
				return nil, fmt.Errorf("%w: %s and %s", ErrRooms, other.Account(), r.Account())
			}
		}
	}
	if len(rooms) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrRooms)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &service{slices.Clone(rooms), o}
	mux := http.NewServeMux()
	byPath := map[string]map[string]handler{}
	for _, r := range s.routes() {
		if byPath[r.path] == nil {
			byPath[r.path] = map[string]handler{}
		}
		byPath[r.path][r.method] = r.handle
	}
	for path, methods := range byPath {
		h := s.methods(methods)
		mux.Handle(path, h)
		if bare, ok := strings.CutSuffix(path, "/{$}"); ok { // clients write paths with a slash at the end and without
			mux.Handle(bare, h)
		}
	}
	mux.Handle("/", s.methods(map[string]handler{"": func(*http.Request) (*reply, error) { return nil, errNotFound }}))
	return s.guard(mux), nil
}

// handler answers a request, or returns an error for [service.fail].
type handler func(*http.Request) (*reply, error)

// reply is a status and a body, which is JSON unless nil.
type reply struct {
	status int
	body   any
}

func ok(body any) (*reply, error) { return &reply{http.StatusOK, body}, nil }

// route is one operation of the API. A path ends in "/{$}" where the slash at
// its end may be left out. No method means any.
type route struct {
	method, path string
	handle       handler
}

func (s *service) routes() []route {
	return append([]route{
		{"GET", "/api/openapi.json", s.openAPI},
		{"GET", "/api/v1/about/{$}", s.about},
		{"GET", "/api/v1/safes/{address}/{$}", s.safe},
		{"GET", "/api/v1/owners/{address}/safes/{$}", s.safesOf},
		{"GET", "/api/v1/safes/{address}/multisig-transactions/{$}", s.transactions(v1)},
		{"GET", "/api/v2/safes/{address}/multisig-transactions/{$}", s.transactions(v2)},
		{"POST", "/api/v1/safes/{address}/multisig-transactions/{$}", s.propose},
		{"POST", "/api/v2/safes/{address}/multisig-transactions/{$}", s.propose},
		{"GET", "/api/v1/safes/{address}/all-transactions/{$}", s.allTransactions(v1)},
		{"GET", "/api/v2/safes/{address}/all-transactions/{$}", s.allTransactions(v2)},
		{"GET", "/api/v1/multisig-transactions/{hash}/{$}", s.transaction(v1)},
		{"GET", "/api/v2/multisig-transactions/{hash}/{$}", s.transaction(v2)},
		{"GET", "/api/v1/multisig-transactions/{hash}/confirmations/{$}", s.confirmations},
		{"POST", "/api/v1/multisig-transactions/{hash}/confirmations/{$}", s.confirm},
		{"GET", "/api/v1/safes/{address}/messages/{$}", s.messages},
		{"POST", "/api/v1/safes/{address}/messages/{$}", s.proposeMessage},
		{"GET", "/api/v1/messages/{hash}/{$}", s.message},
		{"POST", "/api/v1/messages/{hash}/signatures/{$}", s.signMessage},
	}, refusals()...)
}

// refusals are operations of the Safe Transaction Service that clients know, and
// that cannot be had here: they say so.
func refusals() []route {
	refuse := func(method, why string, paths ...string) []route {
		var all []route
		for _, p := range paths {
			all = append(all, route{method, p, func(*http.Request) (*reply, error) {
				return nil, &apiError{status: http.StatusNotImplemented, body: detail(why)}
			}})
		}
		return all
	}
	return slices.Concat(
		refuse("", "There are no delegates here: only owners propose, and each signs for itself.",
			"/api/v1/delegates/{$}", "/api/v1/delegates/{address}/{$}", "/api/v2/delegates/{$}", "/api/v2/delegates/{address}/{$}",
			"/api/v1/safes/{address}/delegates/{$}", "/api/v1/safes/{address}/delegates/{delegate}/{$}"),
		refuse("DELETE", "What was said to the other owners cannot be taken back. An owner who does not want a transaction rejects it.",
			"/api/v1/multisig-transactions/{hash}/{$}", "/api/v2/multisig-transactions/{hash}/{$}"),
		refuse("", "The chain is not indexed here: ask a node, or an indexer.",
			"/api/v1/safes/{address}/incoming-transfers/{$}", "/api/v1/safes/{address}/transfers/{$}",
			"/api/v1/safes/{address}/module-transactions/{$}", "/api/v1/safes/{address}/creation/{$}",
			"/api/v1/safes/{address}/balances/{$}", "/api/v2/safes/{address}/balances/{$}",
			"/api/v1/safes/{address}/collectibles/{$}", "/api/v2/safes/{address}/collectibles/{$}",
			"/api/v1/modules/{address}/safes/{$}", "/api/v1/tokens/{$}", "/api/v1/tokens/{address}/{$}",
			"/api/v1/about/singletons/{$}"),
		refuse("", "Gas is not estimated here: safeTxGas may be 0 since version 1.3.0.",
			"/api/v1/safes/{address}/multisig-transactions/estimations/{$}"),
		refuse("", "User operations (ERC-4337) are not kept here.",
			"/api/v1/safes/{address}/safe-operations/{$}", "/api/v1/safe-operations/{hash}/{$}",
			"/api/v1/safe-operations/{hash}/confirmations/{$}"),
		refuse("", "Calldata is decoded with the transactions, and nowhere else.", "/api/v1/data-decoder/{$}"),
	)
}

//go:embed openapi.json
var openAPI []byte

func (s *service) openAPI(*http.Request) (*reply, error) { return ok(rawJSON(openAPI)) }

func (s *service) about(*http.Request) (*reply, error) {
	return ok(map[string]any{
		"name": "Parley", "version": s.o.Version, "api_version": "v1", "secure": false, "settings": map[string]any{},
	})
}

// room returns the room of the Safe in a request's path, and an error that says
// that there is none, or that the address is not as EIP-55 has it.
func (s *service) room(r *http.Request) (Room, error) {
	a, err := pathAddress(r)
	if err != nil {
		return nil, err
	}
	for _, room := range s.rooms {
		if room.Account().Address == a {
			return room, nil
		}
	}
	return nil, errNotFound
}

// safe describes a Safe as it was last read.
func (s *service) safe(r *http.Request) (*reply, error) {
	room, err := s.room(r)
	if err != nil {
		return nil, err
	}
	at := room.Snapshot()
	return ok(map[string]any{
		"address": room.Account().Address.Hex(), "nonce": strconv.FormatUint(at.Nonce, 10), "threshold": at.Threshold,
		"owners": hexes(at.Owners), "masterCopy": at.Singleton.Hex(), "modules": hexes(at.Modules),
		"fallbackHandler": at.FallbackHandler.Hex(), "guard": at.Guard.Hex(), "version": at.Version,
	})
}

// safesOf lists the Safes served here of which an account is an owner.
func (s *service) safesOf(r *http.Request) (*reply, error) {
	a, err := pathAddress(r)
	if err != nil {
		return nil, err
	}
	all := []string{}
	for _, room := range s.rooms {
		if slices.Contains(room.Snapshot().Owners, a) {
			all = append(all, room.Account().Address.Hex())
		}
	}
	return ok(map[string]any{"safes": all})
}

// methods answers by a request's method, and writes what a handler returns.
func (s *service) methods(by map[string]handler) http.Handler {
	var allowed []string
	for m := range by {
		if m != "" {
			allowed = append(allowed, m)
		}
	}
	slices.Sort(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := by[method]
		if h == nil {
			h = by[""]
		}
		if h == nil {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.fail(w, r, &apiError{status: http.StatusMethodNotAllowed, body: detail(fmt.Sprintf("Method %q not allowed.", r.Method))})
			return
		}
		if method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		answer, err := h(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		write(w, answer)
	})
}

// guard lets through what a program on this machine sends, and pages of the
// origins in the options.
func (s *service) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if !loopbackName(r.Host) {
			s.fail(w, r, &apiError{status: http.StatusMisdirectedRequest, body: detail("Only loopback names are served, such as 127.0.0.1 and localhost.")})
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
			h.Set("Vary", "Origin")
			if !slices.Contains(s.o.Origins, origin) {
				s.fail(w, r, &apiError{status: http.StatusForbidden, body: detail("Pages of this origin may not use the service.")})
				return
			}
			h.Set("Access-Control-Allow-Origin", origin)
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type")
				h.Set("Access-Control-Allow-Private-Network", "true") // some browsers ask before they go to loopback
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackName reports whether a Host header names this machine to itself.
func loopbackName(host string) bool {
	u := url.URL{Host: host}
	name := u.Hostname()
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// Serve serves a handler until ctx ends, or the listener fails, and closes the
// listener. No client can hold a connection for longer than its request may
// take. It returns [ErrNotLoopback], and nil when ctx has ended.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close()
		return fmt.Errorf("%w, not on %s", ErrNotLoopback, l.Addr())
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: writeTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	<-ended
	return nil
}
