package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"reflect"
	"testing"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/interop/mlsclient"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// dial starts a client and connects to it.
func dial(t *testing.T) mlsclient.MLSClientClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := newServer()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:client",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return mlsclient.NewMLSClientClient(conn)
}

// play is one runner's view of a test: each actor has a client of its own.
type play struct {
	t       *testing.T
	suite   uint32
	private bool
	actors  map[string]*actor
}

type actor struct {
	p     *play
	name  string
	rpc   mlsclient.MLSClientClient
	state uint32
}

func newPlay(t *testing.T, id suite.ID, private bool, names ...string) *play {
	p := &play{t: t, suite: uint32(id), private: private, actors: make(map[string]*actor)}
	for _, name := range names {
		p.actors[name] = &actor{p: p, name: name, rpc: dial(t)}
	}
	return p
}

// do calls, and takes no error for an answer.
func do[Req, Resp any](a *actor, rpc func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req) *Resp {
	a.p.t.Helper()
	resp, err := rpc(context.Background(), req)
	if err != nil {
		a.p.t.Fatalf("%s: %v", a.name, err)
	}
	return resp
}

func (a *actor) keyPackage() *mlsclient.CreateKeyPackageResponse {
	a.p.t.Helper()
	return do(a, a.rpc.CreateKeyPackage, &mlsclient.CreateKeyPackageRequest{CipherSuite: a.p.suite, Identity: []byte(a.name)})
}

func (a *actor) join(transaction uint32, welcome, tree []byte) {
	a.p.t.Helper()
	a.state = do(a, a.rpc.JoinGroup, &mlsclient.JoinGroupRequest{
		TransactionId: transaction, Welcome: welcome, RatchetTree: tree, EncryptHandshake: a.p.private, Identity: []byte(a.name),
	}).StateId
}

// commit commits, and has the others follow.
func (a *actor) commit(req *mlsclient.CommitRequest, others ...*actor) *mlsclient.CommitResponse {
	a.p.t.Helper()
	req.StateId = a.state
	resp := do(a, a.rpc.Commit, req)
	a.state = do(a, a.rpc.HandlePendingCommit, &mlsclient.HandlePendingCommitRequest{StateId: a.state}).StateId
	for _, b := range others {
		b.state = do(b, b.rpc.HandleCommit, &mlsclient.HandleCommitRequest{
			StateId: b.state, Proposal: req.ByReference, Commit: resp.Commit,
		}).StateId
	}
	return resp
}

// create makes a group of the first and the others.
func (a *actor) create(others ...*actor) {
	a.p.t.Helper()
	a.state = do(a, a.rpc.CreateGroup, &mlsclient.CreateGroupRequest{
		GroupId: []byte("group"), CipherSuite: a.p.suite, EncryptHandshake: a.p.private, Identity: []byte(a.name),
	}).StateId
	req := new(mlsclient.CommitRequest)
	transactions := make([]uint32, len(others))
	for i, b := range others {
		kp := b.keyPackage()
		transactions[i] = kp.TransactionId
		req.ByValue = append(req.ByValue, &mlsclient.ProposalDescription{ProposalType: []byte("add"), KeyPackage: kp.KeyPackage})
	}
	welcome := a.commit(req).Welcome
	for i, b := range others {
		b.join(transactions[i], welcome, nil)
	}
}

// agree compares what actors in the same epoch must have in common, and has
// each say something to all the others.
func agree(actors ...*actor) {
	t := actors[0].p.t
	t.Helper()
	var auth, exported []byte
	for i, a := range actors {
		s := do(a, a.rpc.StateAuth, &mlsclient.StateAuthRequest{StateId: a.state}).StateAuthSecret
		e := do(a, a.rpc.Export, &mlsclient.ExportRequest{StateId: a.state, Label: "label", Context: []byte("context"), KeyLength: 40}).ExportedSecret
		if i == 0 {
			auth, exported = s, e
		}
		if len(s) == 0 || !bytes.Equal(s, auth) || len(e) != 40 || !bytes.Equal(e, exported) {
			t.Fatalf("%s is not in the epoch of %s", a.name, actors[0].name)
		}
	}
	for _, a := range actors {
		msg := do(a, a.rpc.Protect, &mlsclient.ProtectRequest{StateId: a.state, AuthenticatedData: []byte("aad"), Plaintext: []byte(a.name)})
		for _, b := range actors {
			if b != a {
				b.hears(msg.Ciphertext, a.name)
			}
		}
	}
}

func (a *actor) hears(msg []byte, want string) {
	a.p.t.Helper()
	got := do(a, a.rpc.Unprotect, &mlsclient.UnprotectRequest{StateId: a.state, Ciphertext: msg})
	if string(got.Plaintext) != want || string(got.AuthenticatedData) != "aad" {
		a.p.t.Fatalf("%s hears %q", a.name, got.Plaintext)
	}
}

// each runs a test in every suite and both framings.
func each(t *testing.T, test func(t *testing.T, id suite.ID, private bool)) {
	for _, s := range suite.All() {
		for _, private := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/private=%t", s, private), func(t *testing.T) { test(t, s.ID(), private) })
		}
	}
}

func TestWhatItIs(t *testing.T) {
	a := newPlay(t, 0, false, "alice").actors["alice"]
	if name := do(a, a.rpc.Name, &mlsclient.NameRequest{}).Name; name != "parley" {
		t.Fatal(name)
	}
	suites := do(a, a.rpc.SupportedCiphersuites, &mlsclient.SupportedCiphersuitesRequest{}).Ciphersuites
	for _, want := range []uint32{1, 2, 3, 5, 7} {
		found := false
		for _, s := range suites {
			found = found || s == want
		}
		if !found {
			t.Fatalf("suite %d is missing from %v", want, suites)
		}
	}
}

// Proposals of all kinds by reference and by value, an external tree, pre-shared
// keys of both kinds, and a message of an epoch that was left.
func TestProposals(t *testing.T) {
	each(t, func(t *testing.T, id suite.ID, private bool) {
		p := newPlay(t, id, private, "alice", "bob", "carol", "dave")
		alice, bob, carol, dave := p.actors["alice"], p.actors["bob"], p.actors["carol"], p.actors["dave"]
		alice.create(bob, carol)
		agree(alice, bob, carol)
		early := do(alice, alice.rpc.Protect, &mlsclient.ProtectRequest{StateId: alice.state, AuthenticatedData: []byte("aad"), Plaintext: []byte("early")})

		kp := dave.keyPackage()
		for a, id := range map[*actor]uint32{alice: alice.state, bob: bob.state, dave: kp.TransactionId} {
			do(a, a.rpc.StorePSK, &mlsclient.StorePSKRequest{StateOrTransactionId: id, PskId: []byte("psk"), PskSecret: []byte("secret")})
		}
		update := do(bob, bob.rpc.UpdateProposal, &mlsclient.UpdateProposalRequest{StateId: bob.state}).Proposal
		add := do(alice, alice.rpc.AddProposal, &mlsclient.AddProposalRequest{StateId: alice.state, KeyPackage: kp.KeyPackage}).Proposal
		remove := do(bob, bob.rpc.RemoveProposal, &mlsclient.RemoveProposalRequest{StateId: bob.state, RemovedId: []byte("carol")}).Proposal
		psk := do(bob, bob.rpc.ExternalPSKProposal, &mlsclient.ExternalPSKProposalRequest{StateId: bob.state, PskId: []byte("psk")}).Proposal
		e := []*mlsclient.Extension{{ExtensionType: 3, ExtensionData: []byte{0, 0, 0}}}
		gce := do(bob, bob.rpc.GroupContextExtensionsProposal, &mlsclient.GroupContextExtensionsProposalRequest{StateId: bob.state, Extensions: e}).Proposal
		resp := alice.commit(&mlsclient.CommitRequest{
			ByReference: [][]byte{update, add, remove, psk, gce}, ExternalTree: true,
		}, bob)
		if len(resp.RatchetTree) == 0 {
			t.Fatal("no tree")
		}
		dave.join(kp.TransactionId, resp.Welcome, resp.RatchetTree)
		agree(alice, bob, dave)
		bob.hears(early.Ciphertext, "early")

		resumption := do(bob, bob.rpc.ResumptionPSKProposal, &mlsclient.ResumptionPSKProposalRequest{StateId: bob.state, EpochId: 1}).Proposal
		left := do(bob, bob.rpc.UpdateProposal, &mlsclient.UpdateProposalRequest{StateId: bob.state}).Proposal
		alice.commit(&mlsclient.CommitRequest{
			ByReference: [][]byte{resumption},
			ByValue: []*mlsclient.ProposalDescription{
				{ProposalType: []byte("remove"), RemovedId: []byte("dave")},
				{ProposalType: []byte("externalPSK"), PskId: []byte("psk")},
				{ProposalType: []byte("resumptionPSK"), EpochId: 2},
				{ProposalType: []byte("groupContextExtensions")},
			},
			ForcePath: true,
		}, bob)
		agree(alice, bob)
		if _, err := alice.rpc.Commit(context.Background(), &mlsclient.CommitRequest{StateId: alice.state, ByReference: [][]byte{left}}); err == nil {
			t.Fatal("a proposal of an epoch that was left was committed")
		}
		// What is not asked for is not committed, even if it waits.
		do(alice, alice.rpc.RemoveProposal, &mlsclient.RemoveProposalRequest{StateId: alice.state, RemovedId: []byte("bob")})
		alice.commit(&mlsclient.CommitRequest{}, bob)
		agree(alice, bob)
	})
}

func TestFromOutside(t *testing.T) {
	each(t, func(t *testing.T, id suite.ID, private bool) {
		p := newPlay(t, id, private, "alice", "bob", "carol", "dave")
		alice, bob, carol, dave := p.actors["alice"], p.actors["bob"], p.actors["carol"], p.actors["dave"]
		alice.create(bob)
		enter := func(a *actor, prior bool, others ...*actor) {
			t.Helper()
			info := do(alice, alice.rpc.GroupInfo, &mlsclient.GroupInfoRequest{StateId: alice.state, ExternalTree: prior})
			resp := do(a, a.rpc.ExternalJoin, &mlsclient.ExternalJoinRequest{
				GroupInfo: info.GroupInfo, RatchetTree: info.RatchetTree, EncryptHandshake: private, Identity: []byte(a.name), RemovePrior: prior,
				Psks: []*mlsclient.PreSharedKey{{PskId: []byte("psk"), PskSecret: []byte("secret")}},
			})
			a.state = resp.StateId
			for _, b := range others {
				do(b, b.rpc.HandleCommit, &mlsclient.HandleCommitRequest{StateId: b.state, Commit: resp.Commit})
			}
			agree(append(others, a)...)
		}
		for _, a := range []*actor{alice, bob} {
			do(a, a.rpc.StorePSK, &mlsclient.StorePSKRequest{StateOrTransactionId: a.state, PskId: []byte("psk"), PskSecret: []byte("secret")})
		}
		enter(carol, false, alice, bob)
		old := carol.state
		enter(carol, true, alice, bob)
		do(carol, carol.rpc.Free, &mlsclient.FreeRequest{StateId: old})

		signer := do(dave, dave.rpc.CreateExternalSigner, &mlsclient.CreateExternalSignerRequest{CipherSuite: p.suite, Identity: []byte("dave")})
		second := do(dave, dave.rpc.CreateExternalSigner, &mlsclient.CreateExternalSignerRequest{CipherSuite: p.suite, Identity: []byte("another")})
		for _, sender := range [][]byte{signer.ExternalSender, second.ExternalSender} {
			msg := do(bob, bob.rpc.AddExternalSigner, &mlsclient.AddExternalSignerRequest{StateId: bob.state, ExternalSender: sender}).Proposal
			alice.commit(&mlsclient.CommitRequest{ByReference: [][]byte{msg}}, bob, carol)
		}
		info := do(alice, alice.rpc.GroupInfo, &mlsclient.GroupInfoRequest{StateId: alice.state, ExternalTree: true})
		remove := do(dave, dave.rpc.ExternalSignerProposal, &mlsclient.ExternalSignerProposalRequest{
			SignerId: second.SignerId, GroupInfo: info.GroupInfo, RatchetTree: info.RatchetTree,
			Description: &mlsclient.ProposalDescription{ProposalType: []byte("remove"), RemovedId: []byte("carol")},
		}).Proposal
		within := do(alice, alice.rpc.GroupInfo, &mlsclient.GroupInfoRequest{StateId: alice.state})
		add := do(dave, dave.rpc.NewMemberAddProposal, &mlsclient.NewMemberAddProposalRequest{GroupInfo: within.GroupInfo, Identity: []byte("dave")})
		resp := alice.commit(&mlsclient.CommitRequest{ByReference: [][]byte{remove, add.Proposal}}, bob)
		dave.join(add.TransactionId, resp.Welcome, nil)
		agree(alice, bob, dave)
	})
}

func TestSuccessorAndBranch(t *testing.T) {
	each(t, func(t *testing.T, id suite.ID, private bool) {
		p := newPlay(t, id, private, "alice", "bob", "carol")
		alice, bob, carol := p.actors["alice"], p.actors["bob"], p.actors["carol"]
		alice.create(bob, carol)

		// A branch of alice and bob.
		kp := bob.keyPackage()
		branch := do(alice, alice.rpc.CreateBranch, &mlsclient.CreateBranchRequest{
			StateId: alice.state, GroupId: []byte("branch"), KeyPackages: [][]byte{kp.KeyPackage}, ExternalTree: true,
		})
		joined := do(bob, bob.rpc.HandleBranch, &mlsclient.HandleBranchRequest{
			StateId: bob.state, TransactionId: kp.TransactionId, Welcome: branch.Welcome, RatchetTree: branch.RatchetTree,
		})
		if !bytes.Equal(joined.EpochAuthenticator, branch.EpochAuthenticator) {
			t.Fatal("bob is not in the branch")
		}
		agree(&actor{p, "alice", alice.rpc, branch.StateId}, &actor{p, "bob", bob.rpc, joined.StateId})
		agree(alice, bob, carol)

		// Bob wishes for a successor in another suite, alice closes, carol invites.
		to := suite.P384AES256GCM
		if id == to {
			to = suite.X25519AES128GCMEd25519
		}
		msg := do(bob, bob.rpc.ReInitProposal, &mlsclient.ReInitProposalRequest{StateId: bob.state, CipherSuite: uint32(to), GroupId: []byte("next")}).Proposal
		commit := do(alice, alice.rpc.ReInitCommit, &mlsclient.CommitRequest{StateId: alice.state, ByReference: [][]byte{msg}}).Commit
		closed := map[*actor]*mlsclient.HandleReInitCommitResponse{
			alice: do(alice, alice.rpc.HandlePendingReInitCommit, &mlsclient.HandlePendingCommitRequest{StateId: alice.state}),
		}
		for _, a := range []*actor{bob, carol} {
			closed[a] = do(a, a.rpc.HandleReInitCommit, &mlsclient.HandleCommitRequest{StateId: a.state, Proposal: [][]byte{msg}, Commit: commit})
			if !bytes.Equal(closed[a].EpochAuthenticator, closed[alice].EpochAuthenticator) {
				t.Fatal("not closed in the same epoch")
			}
		}
		welcome := do(carol, carol.rpc.ReInitWelcome, &mlsclient.ReInitWelcomeRequest{
			ReinitId: closed[carol].ReinitId, KeyPackage: [][]byte{closed[alice].KeyPackage, closed[bob].KeyPackage}, ForcePath: true,
		})
		carol.state = welcome.StateId
		for _, a := range []*actor{alice, bob} {
			a.state = do(a, a.rpc.HandleReInitWelcome, &mlsclient.HandleReInitWelcomeRequest{
				ReinitId: closed[a].ReinitId, Welcome: welcome.Welcome, RatchetTree: welcome.RatchetTree,
			}).StateId
		}
		agree(alice, bob, carol)
	})
}

// Every call with an empty request, and with numbers of nothing, is answered by
// a status, and the client goes on.
func TestStatuses(t *testing.T) {
	p := newPlay(t, suite.X25519AES128GCMEd25519, false, "alice", "bob")
	alice, bob := p.actors["alice"], p.actors["bob"]
	alice.create(bob)
	kp := alice.keyPackage()
	rpc := reflect.ValueOf(alice.rpc)
	harmless := map[string]bool{"Name": true, "SupportedCiphersuites": true}
	for i := range rpc.NumMethod() {
		name := rpc.Type().Method(i).Name
		if harmless[name] {
			continue
		}
		// The numbers of a state that is, of a transaction that is, and of nothing.
		for _, id := range []uint32{0, alice.state, kp.TransactionId, 999} {
			req := reflect.New(rpc.Method(i).Type().In(1).Elem())
			for _, field := range []string{"StateId", "TransactionId", "ReinitId", "SignerId", "StateOrTransactionId"} {
				if f := req.Elem().FieldByName(field); f.IsValid() && !(name == "Free" && id == alice.state) {
					f.SetUint(uint64(id))
				}
			}
			out := rpc.Method(i).Call([]reflect.Value{reflect.ValueOf(context.Background()), req})
			err, _ := out[1].Interface().(error)
			switch code := status.Code(err); code {
			case codes.OK, codes.InvalidArgument, codes.NotFound:
				if id == 999 && code == codes.OK {
					t.Errorf("%s: no error for a number of nothing", name)
				}
			default:
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// An empty request was a fair one for some; so only the client's life counts.
	do(alice, alice.rpc.StateAuth, &mlsclient.StateAuthRequest{StateId: alice.state})
	for _, req := range []*mlsclient.ExportRequest{
		{StateId: alice.state, KeyLength: 255*32 + 1},
		{StateId: alice.state, KeyLength: 1<<32 - 1},
	} {
		if _, err := alice.rpc.Export(context.Background(), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("export of %d bytes: %v", req.KeyLength, err)
		}
	}
	for _, id := range []uint32{0, 0x00ff, 0x10001, 1 << 31} {
		if _, err := alice.rpc.CreateKeyPackage(context.Background(), &mlsclient.CreateKeyPackageRequest{CipherSuite: id}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("suite %d: %v", id, err)
		}
	}
}
