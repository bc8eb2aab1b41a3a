package groups

import (
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// required is RequiredCapabilities of RFC 9420, Section 11.1: what every member
// has to support.
type required struct {
	extensions  []treekem.ExtensionType
	proposals   []treekem.ProposalType
	credentials []treekem.CredentialType
}

func (q *required) marshal() []byte {
	b := appendTypes(nil, q.extensions)
	b = appendTypes(b, q.proposals)
	return appendTypes(b, q.credentials)
}

func parseRequired(data []byte) (required, error) {
	r := wire.NewReader(data)
	q := required{
		extensions:  readTypes[treekem.ExtensionType](r),
		proposals:   readTypes[treekem.ProposalType](r),
		credentials: readTypes[treekem.CredentialType](r),
	}
	if err := r.Done(); err != nil {
		return required{}, malformed(err)
	}
	return q, nil
}

// requiredOf returns the required capabilities in a list of extensions, empty
// if there are none.
func requiredOf(e Extensions) (required, error) {
	data, ok := e.Find(extensionRequired)
	if !ok {
		return required{}, nil
	}
	return parseRequired(data)
}

func appendTypes[T ~uint16](b []byte, types []T) []byte {
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, t := range types {
			b = wire.AppendUint16(b, uint16(t))
		}
		return b
	})
}

func readTypes[T ~uint16](r *wire.Reader) []T {
	sub := r.Sub()
	var out []T
	for sub.More() {
		if len(out) == MaxRequired {
			sub.Fail(wire.ErrLength)
		}
		out = append(out, T(sub.Uint16()))
	}
	r.Join(sub)
	return out
}

// rolesOf returns the roles in the extensions of a GroupContext, or nil.
func rolesOf(e Extensions) (*Roles, error) {
	data, ok := e.Find(ExtensionRoles)
	if !ok {
		return nil, nil
	}
	return ParseRoles(data)
}

// composeExtensions lists the extensions of a GroupContext of Parley.
func composeExtensions(roles Roles, q required, others Extensions) (Extensions, error) {
	out := Extensions{
		{Type: extensionRequired, Data: q.marshal()},
		{Type: ExtensionRoles, Data: roles.Marshal()},
	}
	out = append(out, others...)
	return out, checkExtensions(out)
}

// checkExtensions applies what can be said of a GroupContext's extensions
// alone.
func checkExtensions(e Extensions) error {
	if len(e) > MaxExtensions || !e.Unique() {
		return fmt.Errorf("%w: group context extensions: too many, or one twice", ErrProposal)
	}
	agreement, err := agreementOf(e)
	if err != nil {
		return err
	}
	if _, err := ExternalSenders(e); err != nil {
		return err
	}
	q, err := requiredOf(e)
	if err != nil {
		return err
	}
	roles, err := rolesOf(e)
	if err != nil {
		return err
	}
	if roles != nil && !slices.Contains(q.extensions, ExtensionRoles) {
		return fmt.Errorf("%w: not among the required capabilities", ErrRoles)
	}
	if agreement != nil && (roles == nil || !slices.Contains(q.extensions, ExtensionAgreement)) {
		return fmt.Errorf("%w: without roles, or not among the required capabilities", ErrAgreement)
	}
	return nil
}

// supports returns ErrCapabilities unless c suffices for a GroupContext with
// these extensions.
func supports(c *Capabilities, e Extensions, q *required) error {
	for _, x := range e {
		if !c.HasExtension(x.Type) {
			return fmt.Errorf("%w: extension 0x%04x of the group", ErrCapabilities, uint16(x.Type))
		}
	}
	for _, t := range q.extensions {
		if !c.HasExtension(t) {
			return fmt.Errorf("%w: required extension 0x%04x", ErrCapabilities, uint16(t))
		}
	}
	for _, t := range q.proposals {
		if !c.HasProposal(t) {
			return fmt.Errorf("%w: required proposal 0x%04x", ErrCapabilities, uint16(t))
		}
	}
	for _, t := range q.credentials {
		if !c.HasCredential(t) {
			return fmt.Errorf("%w: required credential 0x%04x", ErrCapabilities, uint16(t))
		}
	}
	return nil
}

// checkLeaf applies what the GroupContext demands of one leaf, whose credential
// must be well formed. In a group with roles it must be of a type that the group
// requires, as roles are given by credential.
func checkLeaf(l *LeafNode, e Extensions, q *required) error {
	if err := supports(&l.Capabilities, e, q); err != nil {
		return err
	}
	if err := checkSubject(l.Credential); err != nil {
		return err
	}
	if _, ok := e.Find(ExtensionRoles); !ok {
		return nil
	}
	if !slices.Contains(q.credentials, l.Credential.Type) {
		return fmt.Errorf("%w: credential type 0x%04x is not the group's", ErrCapabilities, uint16(l.Credential.Type))
	}
	return nil
}

// checkMembers applies what holds for all members together (RFC 9420, Section
// 7.3), once all proposals of a commit are in the tree.
func checkMembers(tree *treekem.Tree, e Extensions, roles *Roles) error {
	if err := tree.CheckMembers(); err != nil {
		return treeError(err)
	}
	q, err := requiredOf(e)
	if err != nil {
		return err
	}
	if err := supports(tree.Common(), e, &q); err != nil || roles == nil {
		return err
	}
	for _, t := range tree.CredentialTypes() {
		if !slices.Contains(q.credentials, t) {
			return fmt.Errorf("%w: credential type 0x%04x in use is not required", ErrCapabilities, uint16(t))
		}
	}
	if roles.Commit == Members {
		return nil
	}
	for _, l := range tree.Leaves() {
		if roles.IsAdmin(Subject(l.Credential)) {
			return nil
		}
	}
	return ErrLastMember
}
