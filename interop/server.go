package main

import (
	"context"
	"fmt"
	"path"
	"sync"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/interop/mlsclient"
	"github.com/parley-im/parley/treekem"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// client is the service. What a runner refers to by a number is in its maps;
// the numbers of all of them are taken from one counter, as some requests take
// either of two kinds.
type client struct {
	mlsclient.UnimplementedMLSClientServer

	mu sync.Mutex // held by every call: see serialise

	last    uint32
	joins   map[uint32]*join       // transactions
	states  map[uint32]*membership // states
	reinits map[uint32]*reinit
	signers map[uint32]suite.SigningKey
}

// newServer returns a gRPC server with a client that has no state yet.
func newServer() *grpc.Server {
	c := &client{
		joins:   make(map[uint32]*join),
		states:  make(map[uint32]*membership),
		reinits: make(map[uint32]*reinit),
		signers: make(map[uint32]suite.SigningKey),
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(c.serialise),
		grpc.MaxRecvMsgSize(maxRequest), // a request can hold many messages
	)
	mlsclient.RegisterMLSClientServer(s, c)
	return s
}

const maxRequest = 4 * groups.MaxMessageSize

// serialise runs one call at a time, and makes a status of every error.
func (c *client) serialise(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp, err := handle(ctx, req)
	if err == nil {
		return resp, nil
	}
	code := codes.InvalidArgument
	if s, ok := status.FromError(err); ok {
		code = s.Code()
	}
	return nil, status.Errorf(code, "%s: %v", path.Base(info.FullMethod), err)
}

// put files v under a new number.
func put[T any](c *client, table map[uint32]T, v T) uint32 {
	c.last++
	table[c.last] = v
	return c.last
}

// get returns what is filed under a number.
func get[T any](table map[uint32]T, id uint32, kind string) (T, error) {
	v, ok := table[id]
	if !ok {
		return v, status.Errorf(codes.NotFound, "unknown %s %d", kind, id)
	}
	return v, nil
}

func (c *client) state(id uint32) (*membership, error) { return get(c.states, id, "state") }

// chosenSuite looks a cipher suite up by the number in a request.
func chosenSuite(id uint32) (*suite.Suite, error) {
	if id == 0 || id > 0xffff {
		return nil, fmt.Errorf("cipher suite %d", id)
	}
	return suite.ByID(suite.ID(id))
}

func (c *client) Name(context.Context, *mlsclient.NameRequest) (*mlsclient.NameResponse, error) {
	return &mlsclient.NameResponse{Name: "parley"}, nil
}

func (c *client) SupportedCiphersuites(context.Context, *mlsclient.SupportedCiphersuitesRequest) (*mlsclient.SupportedCiphersuitesResponse, error) {
	resp := new(mlsclient.SupportedCiphersuitesResponse)
	for _, s := range suite.All() {
		resp.Ciphersuites = append(resp.Ciphersuites, uint32(s.ID()))
	}
	return resp, nil
}

func (c *client) StorePSK(_ context.Context, req *mlsclient.StorePSKRequest) (*mlsclient.StorePSKResponse, error) {
	id := req.GetStateOrTransactionId()
	var psks externalPSKs
	if m, ok := c.states[id]; ok {
		psks = m.psks
	} else {
		j, err := get(c.joins, id, "state or transaction")
		if err != nil {
			return nil, err
		}
		psks = j.psks
	}
	psks.store(req.GetPskId(), req.GetPskSecret())
	return &mlsclient.StorePSKResponse{}, nil
}

func (c *client) Free(_ context.Context, req *mlsclient.FreeRequest) (*mlsclient.FreeResponse, error) {
	if _, err := c.state(req.GetStateId()); err != nil {
		return nil, err
	}
	delete(c.states, req.GetStateId())
	return &mlsclient.FreeResponse{}, nil
}

// externalPSKs are external pre-shared keys by their identifiers.
type externalPSKs map[string]secret.Key

func (e externalPSKs) store(id, psk []byte) { e[string(id)] = secret.Copy(psk) }

func (e externalPSKs) source(id groups.PreSharedKeyID) (secret.Key, bool) {
	if id.Type != groups.PSKExternal {
		return secret.Key{}, false
	}
	k, ok := e[string(id.ID)]
	return k, ok
}

// extensions are those of a request; never nil, which would mean other things.
func extensions(list []*mlsclient.Extension) (groups.Extensions, error) {
	out := make(groups.Extensions, len(list))
	for i, e := range list {
		if e.GetExtensionType() > 0xffff {
			return nil, fmt.Errorf("extension type %d", e.GetExtensionType())
		}
		out[i] = groups.Extension{Type: treekem.ExtensionType(e.GetExtensionType()), Data: e.GetExtensionData()}
	}
	return out, nil
}

// outsideTree is a tree that travels beside a Welcome or GroupInfo, nil if it
// travels within.
func outsideTree(tree []byte) []byte {
	if len(tree) == 0 {
		return nil
	}
	return tree
}
