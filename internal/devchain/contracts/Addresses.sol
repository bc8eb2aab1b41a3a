// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ENSRegistry} from "./ENSRegistry.sol";

// Where the genesis block puts the contracts that others refer to. They are
// constants and not constructor arguments, because nothing is ever constructed.
// addresses.go has the same list.
ENSRegistry constant REGISTRY = ENSRegistry(address(uint160(0x00000000000C2E074eC69A0dFb2997BA6C7d2e1e)));
address constant PUBLIC_RESOLVER = address(uint160(0x00dec0DE00000000000000000000000000000001));
address constant REVERSE_REGISTRAR = address(uint160(0x00Dec0DE00000000000000000000000000000002));
