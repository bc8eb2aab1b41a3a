// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {REGISTRY, PUBLIC_RESOLVER} from "./Addresses.sol";
import {PublicResolver} from "./PublicResolver.sol";

/// The owner of addr.reverse (EIP-181): hands each address the node named by
/// its own lower-case hex digits. Besides an address itself, those it approved
/// in the registry act for it, and so do controllers, which the genesis block
/// writes into slot 0: a development chain names accounts whose keys it lacks.
contract ReverseRegistrar {
    mapping(address => bool) public controllers;

    /// namehash("addr.reverse")
    bytes32 public constant ADDR_REVERSE_NODE = 0x91d1777781884d03a6757a803996e38de2a42967fb37eeaca72729271025a9e2;

    event ReverseClaimed(address indexed addr, bytes32 indexed node);

    modifier authorised(address a) {
        require(
            a == msg.sender || controllers[msg.sender] || REGISTRY.isApprovedForAll(a, msg.sender),
            "not this address"
        );
        _;
    }

    function claim(address owner) external returns (bytes32) {
        return claimForAddr(msg.sender, owner, PUBLIC_RESOLVER);
    }

    function claimWithResolver(address owner, address resolver) external returns (bytes32) {
        return claimForAddr(msg.sender, owner, resolver);
    }

    function claimForAddr(address a, address owner, address resolver) public authorised(a) returns (bytes32 n) {
        n = node(a);
        REGISTRY.setSubnodeRecord(ADDR_REVERSE_NODE, hexHash(a), owner, resolver, 0);
        emit ReverseClaimed(a, n);
    }

    function setName(string calldata name) external returns (bytes32) {
        return setNameForAddr(msg.sender, msg.sender, PUBLIC_RESOLVER, name);
    }

    function setNameForAddr(address a, address owner, address resolver, string calldata name)
        public
        returns (bytes32 n)
    {
        n = claimForAddr(a, owner, resolver);
        PublicResolver(resolver).setName(n, name);
    }

    function defaultResolver() external pure returns (address) {
        return PUBLIC_RESOLVER;
    }

    function ens() external pure returns (address) {
        return address(REGISTRY);
    }

    function node(address a) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(ADDR_REVERSE_NODE, hexHash(a)));
    }

    /// The hash of an address's 40 lower-case hex digits.
    function hexHash(address a) private pure returns (bytes32) {
        bytes16 digits = "0123456789abcdef";
        bytes memory text = new bytes(40);
        uint160 v = uint160(a);
        for (uint256 i = 40; i > 0; i--) {
            text[i - 1] = digits[v & 15];
            v >>= 4;
        }
        return keccak256(text);
    }
}
