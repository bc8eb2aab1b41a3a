package main

import (
	"context"
	"fmt"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/interop/mlsclient"
	"github.com/parley-im/parley/treekem"
)

// view is what a description of a proposal is read against: a group seen from
// within or from outside.
type view interface {
	GroupID() []byte
	Members() []groups.Member
}

// findMember returns the leaf of the member with that identity.
func findMember(v view, identity []byte) (groups.LeafIndex, error) {
	want := treekem.Basic(identity)
	for _, m := range v.Members() {
		if m.Credential.Equal(want) {
			return m.Leaf, nil
		}
	}
	return 0, fmt.Errorf("%w: %q", groups.ErrNotMember, identity)
}

// described makes the proposal that a description describes.
func described(d *mlsclient.ProposalDescription, v view) (*groups.Proposal, error) {
	var (
		p   groups.Proposal
		err error
	)
	switch kind := string(d.GetProposalType()); kind {
	case "add":
		p.Type = groups.ProposalAdd
		p.Add, err = groups.ParseKeyPackage(d.GetKeyPackage())
	case "remove":
		p.Type = groups.ProposalRemove
		p.Remove, err = findMember(v, d.GetRemovedId())
	case "externalPSK":
		p.Type = groups.ProposalPSK
		p.PSK = groups.PreSharedKeyID{Type: groups.PSKExternal, ID: d.GetPskId()}
	case "resumptionPSK":
		p.Type = groups.ProposalPSK
		p.PSK = groups.PreSharedKeyID{
			Type: groups.PSKResumption, Usage: groups.ResumptionApplication, GroupID: v.GroupID(), Epoch: d.GetEpochId(),
		}
	case "groupContextExtensions":
		p.Type = groups.ProposalGroupContextExtensions
		p.Extensions, err = extensions(d.GetExtensions())
	case "reinit":
		p.Type = groups.ProposalReInit
		p.ReInit, err = reInit(d.GetGroupId(), d.GetCipherSuite(), d.GetExtensions())
	default:
		err = fmt.Errorf("proposal type %q", kind)
	}
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func reInit(groupID []byte, id uint32, list []*mlsclient.Extension) (*groups.ReInit, error) {
	s, err := chosenSuite(id)
	if err != nil {
		return nil, err
	}
	e, err := extensions(list)
	if err != nil {
		return nil, err
	}
	return &groups.ReInit{GroupID: groupID, Version: treekem.MLS10, Suite: s.ID(), Extensions: e}, nil
}

// proposed remembers the reference of an own proposal, which is the last that
// is pending.
func (m *membership) proposed(msg []byte, err error) (*mlsclient.ProposalResponse, error) {
	if err != nil {
		return nil, err
	}
	pending, err := m.group.Pending(m.rows)
	if err != nil {
		return nil, err
	}
	m.refs[string(msg)] = pending[len(pending)-1].Ref
	return &mlsclient.ProposalResponse{Proposal: msg}, nil
}

// propose makes a member's proposal from its description.
func (c *client) propose(state uint32, d *mlsclient.ProposalDescription) (*mlsclient.ProposalResponse, error) {
	m, err := c.state(state)
	if err != nil {
		return nil, err
	}
	p, err := described(d, m.group)
	if err != nil {
		return nil, err
	}
	return m.proposed(m.group.Propose(m.rows, p, m.framing()))
}

func (c *client) AddProposal(_ context.Context, req *mlsclient.AddProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{ProposalType: []byte("add"), KeyPackage: req.GetKeyPackage()})
}

func (c *client) RemoveProposal(_ context.Context, req *mlsclient.RemoveProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{ProposalType: []byte("remove"), RemovedId: req.GetRemovedId()})
}

func (c *client) ExternalPSKProposal(_ context.Context, req *mlsclient.ExternalPSKProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{ProposalType: []byte("externalPSK"), PskId: req.GetPskId()})
}

func (c *client) ResumptionPSKProposal(_ context.Context, req *mlsclient.ResumptionPSKProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{ProposalType: []byte("resumptionPSK"), EpochId: req.GetEpochId()})
}

func (c *client) GroupContextExtensionsProposal(_ context.Context, req *mlsclient.GroupContextExtensionsProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte("groupContextExtensions"), Extensions: req.GetExtensions(),
	})
}

func (c *client) ReInitProposal(_ context.Context, req *mlsclient.ReInitProposalRequest) (*mlsclient.ProposalResponse, error) {
	return c.propose(req.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte("reinit"), GroupId: req.GetGroupId(), CipherSuite: req.GetCipherSuite(), Extensions: req.GetExtensions(),
	})
}

func (c *client) UpdateProposal(_ context.Context, req *mlsclient.UpdateProposalRequest) (*mlsclient.ProposalResponse, error) {
	m, err := c.state(req.GetStateId())
	if err != nil {
		return nil, err
	}
	return m.proposed(m.group.ProposeUpdate(m.rows, groups.UpdateOptions{Framing: m.framing()}))
}
