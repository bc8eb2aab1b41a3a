package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/interop/mlsclient"
	"github.com/parley-im/parley/treekem"
)

func (c *client) ExternalJoin(_ context.Context, req *mlsclient.ExternalJoinRequest) (*mlsclient.ExternalJoinResponse, error) {
	info, err := groups.ParseGroupInfo(req.GetGroupInfo(), outsideTree(req.GetRatchetTree()))
	if err != nil {
		return nil, err
	}
	s, err := suite.ByID(info.Suite())
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	psks := make(externalPSKs)
	o := groups.ExternalJoinOptions{Credential: treekem.Basic(req.GetIdentity()), Signer: signer, PSK: psks.source}
	if req.GetRemovePrior() {
		leaf, err := findMember(info, req.GetIdentity())
		if err != nil {
			return nil, err
		}
		o.Replace = &leaf
	}
	for _, k := range req.GetPsks() {
		psks.store(k.GetPskId(), k.GetPskSecret())
		o.PSKs = append(o.PSKs, groups.PreSharedKeyID{Type: groups.PSKExternal, ID: k.GetPskId()})
	}
	st, err := info.Join(o)
	if err != nil {
		return nil, err
	}
	rows := make(groups.MemoryRows)
	g, _, err := st.Merge(rows)
	if err != nil {
		return nil, err
	}
	m := newMembership(g, rows, psks)
	m.private = req.GetEncryptHandshake()
	return &mlsclient.ExternalJoinResponse{
		StateId:            put(c, c.states, m),
		Commit:             st.Commit,
		EpochAuthenticator: g.EpochAuthenticator(),
	}, nil
}

func (c *client) NewMemberAddProposal(_ context.Context, req *mlsclient.NewMemberAddProposalRequest) (*mlsclient.NewMemberAddProposalResponse, error) {
	info, err := groups.ParseGroupInfo(req.GetGroupInfo(), nil)
	if err != nil {
		return nil, err
	}
	s, err := suite.ByID(info.Suite())
	if err != nil {
		return nil, err
	}
	j, err := newJoin(s, treekem.Basic(req.GetIdentity()))
	if err != nil {
		return nil, err
	}
	msg, err := info.ProposeJoin(j.kp, j.signer)
	if err != nil {
		return nil, err
	}
	return &mlsclient.NewMemberAddProposalResponse{
		TransactionId:  put(c, c.joins, j),
		Proposal:       msg,
		InitPriv:       j.private.Init.Bytes().Bytes(),
		EncryptionPriv: j.private.Encryption.Bytes().Bytes(),
		SignaturePriv:  j.signer.Bytes().Bytes(),
	}, nil
}

func (c *client) CreateExternalSigner(_ context.Context, req *mlsclient.CreateExternalSignerRequest) (*mlsclient.CreateExternalSignerResponse, error) {
	s, err := chosenSuite(req.GetCipherSuite())
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	sender := wire.AppendVec(nil, signer.Public())
	return &mlsclient.CreateExternalSignerResponse{
		SignerId:       put(c, c.signers, signer),
		ExternalSender: treekem.Basic(req.GetIdentity()).Append(sender),
	}, nil
}

// readExternalSender decodes one ExternalSender.
func readExternalSender(b []byte) (groups.ExternalSender, error) {
	r := wire.NewReader(b)
	sender := groups.ExternalSender{SignatureKey: bytes.Clone(r.VecMax(treekem.MaxKey)), Credential: treekem.ReadCredential(r)}
	if err := r.Done(); err != nil {
		return groups.ExternalSender{}, fmt.Errorf("external sender: %w", err)
	}
	return sender, nil
}

// AddExternalSigner proposes the present extensions with one more external
// sender.
func (c *client) AddExternalSigner(_ context.Context, req *mlsclient.AddExternalSignerRequest) (*mlsclient.ProposalResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	sender, err := readExternalSender(req.GetExternalSender())
	if err != nil {
		return nil, err
	}
	senders, err := groups.ExternalSenders(m.group.Extensions())
	if err != nil {
		return nil, err
	}
	added := groups.ExternalSendersExtension(append(senders, sender))
	e := slices.Clone(m.group.Extensions())
	if i := slices.IndexFunc(e, func(x groups.Extension) bool { return x.Type == added.Type }); i >= 0 {
		e[i] = added
	} else {
		e = append(e, added)
	}
	p := &groups.Proposal{Type: groups.ProposalGroupContextExtensions, Extensions: e}
	return m.proposed(m.group.Propose(m.rows, p, m.framing()))
}

// ExternalSignerProposal finds the signer's place in the group's list by its
// key: the runner does not fill in signer_index.
func (c *client) ExternalSignerProposal(_ context.Context, req *mlsclient.ExternalSignerProposalRequest) (*mlsclient.ProposalResponse, error) {
	signer, err := get(c.signers, req.GetSignerId(), "signer")
	if err != nil {
		return nil, err
	}
	info, err := groups.ParseGroupInfo(req.GetGroupInfo(), outsideTree(req.GetRatchetTree()))
	if err != nil {
		return nil, err
	}
	senders, err := groups.ExternalSenders(info.Extensions())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(senders, func(s groups.ExternalSender) bool { return bytes.Equal(s.SignatureKey, signer.Public()) })
	if i < 0 {
		return nil, fmt.Errorf("%w: not an external sender of the group", groups.ErrNotMember)
	}
	p, err := described(req.GetDescription(), info)
	if err != nil {
		return nil, err
	}
	msg, err := info.Propose(uint32(i), signer, p)
	if err != nil {
		return nil, err
	}
	return &mlsclient.ProposalResponse{Proposal: msg}, nil
}
