// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// An ENSIP-10 resolver that answers for every name below the one it is set
/// on. It keeps nothing: the address of a name is the last 20 bytes of the
/// Keccak-256 of its first label, so that a test can compute what to expect.
contract WildcardResolver {
    error UnsupportedResolverProfile(bytes4 selector);

    function resolve(bytes calldata name, bytes calldata data) external pure returns (bytes memory) {
        uint256 length = uint8(name[0]);
        require(length > 0, "the root has no address");
        address a = address(uint160(uint256(keccak256(name[1:1 + length]))));
        bytes4 selector = bytes4(data);
        if (selector == 0x3b3b57de) {
            return abi.encode(a);
        }
        if (selector == 0xf1cb7e06) {
            (, uint256 coinType) = abi.decode(data[4:], (bytes32, uint256));
            return abi.encode(coinType == 60 ? abi.encodePacked(a) : bytes(""));
        }
        revert UnsupportedResolverProfile(selector);
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x9061b923;
    }
}
