// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

interface ISafe {
    function domainSeparator() external view returns (bytes32);
    function checkSignatures(bytes32 hash, bytes memory data, bytes memory signatures) external view;
    function signedMessages(bytes32 hash) external view returns (uint256);
}

/// The fallback handler of development Safes: messages signed by owners, for
/// other contracts (ERC-1271), and tokens that ask before they come.
contract SafeHandler {
    bytes32 internal constant MESSAGE_TYPEHASH = keccak256("SafeMessage(bytes message)");

    function encode(ISafe safe, bytes memory message) internal view returns (bytes memory) {
        return abi.encodePacked(
            bytes2(0x1901), safe.domainSeparator(), keccak256(abi.encode(MESSAGE_TYPEHASH, keccak256(message)))
        );
    }

    function getMessageHash(bytes memory message) external view returns (bytes32) {
        return keccak256(encode(ISafe(msg.sender), message));
    }

    function getMessageHashForSafe(ISafe safe, bytes memory message) external view returns (bytes32) {
        return keccak256(encode(safe, message));
    }

    function check(bytes memory message, bytes calldata signature) internal view {
        ISafe safe = ISafe(msg.sender);
        bytes memory data = encode(safe, message);
        bytes32 hash = keccak256(data);
        if (signature.length == 0) {
            require(safe.signedMessages(hash) != 0, "Hash not approved");
        } else {
            safe.checkSignatures(hash, data, signature);
        }
    }

    /// ERC-1271.
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        check(abi.encode(hash), signature);
        return 0x1626ba7e;
    }

    /// The first draft of ERC-1271, by which Safes up to 1.4.1 ask each other.
    function isValidSignature(bytes calldata data, bytes calldata signature) external view returns (bytes4) {
        check(data, signature);
        return 0x20c13b0b;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        return 0x150b7a02;
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external pure returns (bytes4) {
        return 0xf23a6e61;
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x150b7a02 || id == 0x4e2312e0;
    }
}
