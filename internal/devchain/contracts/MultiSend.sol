// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Runs several calls as one, for a Safe that delegates to it. Each is packed:
/// operation (1 byte), to (20), value (32), length of the data (32), data.
contract MultiSendCallOnly {
    function multiSend(bytes memory transactions) public payable {
        uint256 i = 0;
        while (i < transactions.length) {
            uint8 operation;
            address to;
            uint256 value;
            uint256 size;
            uint256 data;
            assembly {
                let at := add(add(transactions, 0x20), i)
                operation := byte(0, mload(at))
                to := shr(96, mload(add(at, 1)))
                value := mload(add(at, 21))
                size := mload(add(at, 53))
                data := add(at, 85)
            }
            require(run(operation, to, value, data, size));
            i += 85 + size;
        }
    }

    function run(uint8 operation, address to, uint256 value, uint256 data, uint256 size) internal virtual returns (bool ok) {
        require(operation == 0);
        assembly {
            ok := call(gas(), to, value, data, size, 0, 0)
        }
    }
}

/// The same, for delegate calls too.
contract MultiSend is MultiSendCallOnly {
    function run(uint8 operation, address to, uint256 value, uint256 data, uint256 size) internal override returns (bool ok) {
        if (operation == 0) {
            return super.run(operation, to, value, data, size);
        }
        require(operation == 1);
        assembly {
            ok := delegatecall(gas(), to, data, size, 0, 0)
        }
    }
}
