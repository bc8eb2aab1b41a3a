package identity_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/devchain"
)

// A name is resolved, pinned, and later found to lead elsewhere.
func ExampleENS() {
	ctx := context.Background()
	chain, err := devchain.Start(ctx) // in earnest, any Ethereum RPC endpoint
	if err != nil {
		panic(err)
	}
	defer chain.Close()
	if err := chain.RegisterName(ctx, "bob.eth", common.HexToAddress("0xb0b")); err != nil {
		panic(err)
	}

	ens, err := identity.DialENS(ctx, chain.URL(), nil)
	if err != nil {
		panic(err)
	}
	defer ens.Close()
	addr, err := ens.Resolve(ctx, "Bob.eth")
	fmt.Println(addr, err)
	pin, _ := identity.CheckPin(nil, "bob.eth", addr, time.Now())

	_, err = ens.Resolve(ctx, "nobody.eth")
	fmt.Println(errors.Is(err, identity.ErrNameNotFound), err)
	_, err = ens.Resolve(ctx, "bob")
	fmt.Println(errors.Is(err, identity.ErrNameInvalid), err)

	if err := chain.SetAddr(ctx, "bob.eth", common.HexToAddress("0xbad")); err != nil {
		panic(err)
	}
	addr, _ = ens.Resolve(ctx, "bob.eth")
	_, err = identity.CheckPin(&pin, "bob.eth", addr, time.Now())
	fmt.Println(err)
	// Output:
	// 0x0000000000000000000000000000000000000B0b <nil>
	// true identity: name does not resolve: nobody.eth: nobody has registered it
	// true identity: "bob" is not a valid name: it has no dot
	// identity: bob.eth was 0x0000000000000000000000000000000000000B0b and is now 0x0000000000000000000000000000000000000Bad
}
