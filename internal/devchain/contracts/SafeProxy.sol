// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// An account whose code is elsewhere: at the address in slot 0.
contract SafeProxy {
    address internal singleton;

    constructor(address code) {
        singleton = code;
    }

    fallback() external payable {
        address code = singleton;
        // masterCopy() is the proxy's own.
        if (msg.sig == 0xa619486e) {
            assembly {
                mstore(0, code)
                return(0, 0x20)
            }
        }
        assembly {
            calldatacopy(0, 0, calldatasize())
            let ok := delegatecall(gas(), code, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch ok
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}

/// Makes proxies and sets them up in one transaction.
contract SafeProxyFactory {
    event ProxyCreation(SafeProxy indexed proxy, address singleton);

    function createProxyWithNonce(address code, bytes calldata initializer, uint256 saltNonce) external returns (SafeProxy proxy) {
        require(code.code.length > 0, "Singleton contract not deployed");
        proxy = new SafeProxy{salt: keccak256(abi.encodePacked(keccak256(initializer), saltNonce))}(code);
        if (initializer.length > 0) {
            (bool ok, bytes memory result) = address(proxy).call(initializer);
            if (!ok) {
                assembly {
                    revert(add(result, 0x20), mload(result))
                }
            }
        }
        emit ProxyCreation(proxy, code);
    }
}
