// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {REGISTRY} from "./Addresses.sol";

interface IExtendedResolver {
    function resolve(bytes calldata name, bytes calldata data) external view returns (bytes memory);
    function supportsInterface(bytes4 id) external view returns (bool);
}

interface IBatchGateway {
    struct Query {
        address sender;
        string[] urls;
        bytes data;
    }

    function query(Query[] calldata queries) external view returns (bool[] memory failures, bytes[] memory responses);
}

/// The forward half of the universal resolver of ENSIP-23: it finds a name's
/// resolver, asks it, and wraps its off-chain look-ups in the batch gateway
/// protocol of ENSIP-21.
contract UniversalResolver {
    error ResolverNotFound(bytes name);
    error ResolverNotContract(bytes name, address resolver);
    error UnsupportedResolverProfile(bytes4 selector);
    error ResolverError(bytes errorData);
    error OffchainLookup(address sender, string[] urls, bytes callData, bytes4 callbackFunction, bytes extraData);

    /// What must outlive an off-chain look-up.
    struct Pending {
        address resolver;
        bool extended;
        bytes4 selector;
        string[] gateways;
        bytes4 callbackFunction;
        bytes extraData;
    }

    function resolve(bytes calldata name, bytes calldata data) external view returns (bytes memory, address) {
        string[] memory gateways = new string[](1);
        gateways[0] = "x-batch-gateway:true";
        return resolveWithGateways(name, data, gateways);
    }

    function resolveWithGateways(bytes calldata name, bytes calldata data, string[] memory gateways)
        public
        view
        returns (bytes memory, address)
    {
        (address resolver, uint256 offset) = findResolver(name);
        if (resolver == address(0)) {
            revert ResolverNotFound(name);
        }
        if (resolver.code.length == 0) {
            revert ResolverNotContract(name, resolver);
        }
        Pending memory p;
        p.resolver = resolver;
        p.extended = isExtended(resolver);
        p.selector = bytes4(data);
        p.gateways = gateways;
        if (p.extended) {
            return ask(p, abi.encodeCall(IExtendedResolver.resolve, (name, data)));
        }
        if (offset != 0) {
            revert ResolverNotFound(name);
        }
        return ask(p, data);
    }

    function resolveCallback(bytes calldata response, bytes calldata extraData)
        external
        view
        returns (bytes memory, address)
    {
        Pending memory p = abi.decode(extraData, (Pending));
        (bool[] memory failures, bytes[] memory responses) = abi.decode(response, (bool[], bytes[]));
        if (failures[0]) {
            revert ResolverError(responses[0]);
        }
        return ask(p, bytes.concat(p.callbackFunction, abi.encode(responses[0], p.extraData)));
    }

    /// The resolver of a name in DNS wire form or of its closest parent that has
    /// one, and where in the name that parent begins.
    function findResolver(bytes calldata name) public view returns (address resolver, uint256 offset) {
        while (name[offset] != 0) {
            resolver = REGISTRY.resolver(nodeAt(name, offset));
            if (resolver != address(0)) {
                return (resolver, offset);
            }
            offset += 1 + uint8(name[offset]);
        }
        return (address(0), offset);
    }

    function nodeAt(bytes calldata name, uint256 offset) private pure returns (bytes32) {
        uint256 length = uint8(name[offset]);
        if (length == 0) {
            return bytes32(0);
        }
        uint256 next = offset + 1 + length;
        return keccak256(abi.encodePacked(nodeAt(name, next), keccak256(name[offset + 1:next])));
    }

    function isExtended(address resolver) private view returns (bool) {
        (bool ok, bytes memory v) = resolver.staticcall(
            abi.encodeCall(IExtendedResolver.supportsInterface, (IExtendedResolver.resolve.selector))
        );
        return ok && v.length == 32 && bytes32(v) == bytes32(uint256(1));
    }

    function ask(Pending memory p, bytes memory question) private view returns (bytes memory, address) {
        (bool ok, bytes memory v) = p.resolver.staticcall(question);
        if (ok) {
            if (p.extended) {
                v = abi.decode(v, (bytes));
            }
            if (v.length == 0) {
                revert UnsupportedResolverProfile(p.selector);
            }
            return (v, p.resolver);
        }
        if (bytes4(v) != OffchainLookup.selector) {
            revert ResolverError(v);
        }
        address sender;
        IBatchGateway.Query[] memory queries = new IBatchGateway.Query[](1);
        (sender, queries[0].urls, queries[0].data, p.callbackFunction, p.extraData) =
            this.decodeLookup(v);
        if (sender != p.resolver) {
            revert ResolverError(v);
        }
        queries[0].sender = sender;
        revert OffchainLookup(
            address(this),
            p.gateways,
            abi.encodeCall(IBatchGateway.query, (queries)),
            this.resolveCallback.selector,
            abi.encode(p)
        );
    }

    /// Takes the arguments of an OffchainLookup apart; external, because only
    /// calldata can be sliced.
    function decodeLookup(bytes calldata v)
        external
        pure
        returns (address, string[] memory, bytes memory, bytes4, bytes memory)
    {
        return abi.decode(v[4:], (address, string[], bytes, bytes4, bytes));
    }
}
