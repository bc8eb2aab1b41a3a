// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// An ENSIP-10 resolver whose records live at a gateway (ERC-3668). An answer
/// counts when the signer has signed it for this contract and this question.
/// The gateway is asked `hops` times before the last answer is taken, and a
/// `sender` that is not this contract can be named in the error, which a client
/// must refuse: both are there for the tests of clients.
contract OffchainResolver {
    error OffchainLookup(address sender, string[] urls, bytes callData, bytes4 callbackFunction, bytes extraData);

    string[] private urls;
    address private signer;
    uint256 private hops;
    address private sender;

    function configure(string[] memory urls_, address signer_, uint256 hops_, address sender_) external {
        urls = urls_;
        signer = signer_;
        hops = hops_;
        sender = sender_;
    }

    function resolve(bytes calldata name, bytes calldata data) external view returns (bytes memory) {
        lookup(abi.encodeCall(this.resolve, (name, data)), 1);
    }

    /// The callback. response is (bytes result, bytes signature), signature is
    /// r || s || v over the digest of `digest`; extraData is (bytes question,
    /// uint256 hop).
    function resolveWithProof(bytes calldata response, bytes calldata extraData) external view returns (bytes memory) {
        (bytes memory question, uint256 hop) = abi.decode(extraData, (bytes, uint256));
        (bytes memory result, bytes memory signature) = abi.decode(response, (bytes, bytes));
        require(signature.length == 65, "bad signature");
        bytes32 r;
        bytes32 s;
        assembly {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
        }
        address by = ecrecover(digest(question, result), uint8(signature[64]), r, s);
        require(by != address(0) && by == signer, "not signed by the gateway");
        if (hop < hops) {
            lookup(question, hop + 1);
        }
        return result;
    }

    function digest(bytes memory question, bytes memory result) public view returns (bytes32) {
        return keccak256(abi.encodePacked("gateway", address(this), keccak256(question), keccak256(result)));
    }

    function lookup(bytes memory question, uint256 hop) private view {
        revert OffchainLookup(
            sender == address(0) ? address(this) : sender,
            urls,
            question,
            this.resolveWithProof.selector,
            abi.encode(question, hop)
        );
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x9061b923;
    }
}
