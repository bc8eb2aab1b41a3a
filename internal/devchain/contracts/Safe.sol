// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// What a Safe asks before and after each transaction, if it has one.
interface ISafeGuard {
    function checkTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        bytes calldata signatures,
        address executor
    ) external;

    function checkAfterExecution(bytes32 hash, bool success) external;

    function supportsInterface(bytes4 id) external view returns (bool);
}

interface ISignatureValidator {
    function isValidSignature(bytes calldata data, bytes calldata signature) external view returns (bytes4);
}

/// A multisig account that outsiders cannot tell from a Safe of version 1.4.1:
/// the same functions, storage, events, signatures and errors. Development chains
/// have it so that nobody needs to fetch the real one; tests hold the two against
/// each other. It is used through SafeProxy.
contract Safe {
    string public constant VERSION = "1.4.1";

    address internal constant SENTINEL = address(1);

    bytes32 internal constant DOMAIN_TYPEHASH = keccak256("EIP712Domain(uint256 chainId,address verifyingContract)");
    bytes32 internal constant TX_TYPEHASH = keccak256(
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
    );
    bytes4 internal constant MAGIC = 0x20c13b0b;

    // keccak256("fallback_manager.handler.address"), keccak256("guard_manager.guard.address")
    bytes32 internal constant HANDLER_SLOT = 0x6c9a6c4a39284e37ed1cf53d337577d14212a4870fb976a4366c693b939918d5;
    bytes32 internal constant GUARD_SLOT = 0x4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8;

    address internal singleton; // slot 0, the proxy's
    mapping(address => address) internal modules; // linked list
    mapping(address => address) internal owners; // linked list
    uint256 internal ownerCount;
    uint256 internal threshold;
    uint256 public nonce;
    bytes32 private unused;
    mapping(bytes32 => uint256) public signedMessages;
    mapping(address => mapping(bytes32 => uint256)) public approvedHashes;

    event SafeSetup(address indexed initiator, address[] owners, uint256 threshold, address initializer, address fallbackHandler);
    event ApproveHash(bytes32 indexed approvedHash, address indexed owner);
    event ExecutionSuccess(bytes32 indexed txHash, uint256 payment);
    event ExecutionFailure(bytes32 indexed txHash, uint256 payment);
    event ExecutionFromModuleSuccess(address indexed module);
    event ExecutionFromModuleFailure(address indexed module);
    event SafeReceived(address indexed sender, uint256 value);
    event AddedOwner(address indexed owner);
    event RemovedOwner(address indexed owner);
    event ChangedThreshold(uint256 threshold);
    event EnabledModule(address indexed module);
    event DisabledModule(address indexed module);
    event ChangedGuard(address indexed guard);
    event ChangedFallbackHandler(address indexed handler);

    modifier authorized() {
        require(msg.sender == address(this), "GS031");
        _;
    }

    /// The singleton itself belongs to nobody and can do nothing.
    constructor() {
        threshold = 1;
    }

    receive() external payable {
        emit SafeReceived(msg.sender, msg.value);
    }

    /// Hands what is not known here to the fallback handler, with the caller
    /// appended.
    fallback() external {
        address handler = address(uint160(uint256(load(HANDLER_SLOT))));
        if (handler == address(0)) {
            return;
        }
        (bool ok, bytes memory result) = handler.call(abi.encodePacked(msg.data, msg.sender));
        finish(ok, result);
    }

    // Making one.

    function setup(
        address[] calldata list,
        uint256 needed,
        address to,
        bytes calldata data,
        address fallbackHandler,
        address paymentToken,
        uint256 payment,
        address payable paymentReceiver
    ) external {
        require(threshold == 0, "GS200");
        require(needed <= list.length, "GS201");
        require(needed >= 1, "GS202");
        address last = SENTINEL;
        for (uint256 i = 0; i < list.length; i++) {
            address owner = list[i];
            require(owner != address(0) && owner != SENTINEL && owner != address(this) && owner != last, "GS203");
            require(owners[owner] == address(0), "GS204");
            owners[last] = owner;
            last = owner;
        }
        owners[last] = SENTINEL;
        ownerCount = list.length;
        threshold = needed;
        if (fallbackHandler != address(0)) {
            internalSetFallbackHandler(fallbackHandler);
        }
        require(modules[SENTINEL] == address(0), "GS100");
        modules[SENTINEL] = SENTINEL;
        if (to != address(0)) {
            require(to.code.length > 0, "GS002");
            (bool ok, ) = to.delegatecall(data);
            require(ok, "GS000");
        }
        if (payment > 0) {
            pay(payment, 0, 1, paymentToken, paymentReceiver);
        }
        emit SafeSetup(msg.sender, list, needed, to, fallbackHandler);
    }

    // Transactions.

    struct Transaction {
        address to;
        uint256 value;
        uint8 operation;
        uint256 safeTxGas;
        uint256 baseGas;
        uint256 gasPrice;
        address gasToken;
        address payable refundReceiver;
    }

    function execTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address payable refundReceiver,
        bytes memory signatures
    ) external payable returns (bool) {
        return run(
            Transaction(to, value, operation, safeTxGas, baseGas, gasPrice, gasToken, refundReceiver), data, signatures
        );
    }

    function run(Transaction memory t, bytes calldata data, bytes memory signatures) internal returns (bool success) {
        require(t.operation <= 1);
        bytes32 hash;
        {
            bytes memory pre = preimage(t, data, nonce);
            nonce++;
            hash = keccak256(pre);
            checkSignatures(hash, pre, signatures);
        }
        address guard = address(uint160(uint256(load(GUARD_SLOT))));
        if (guard != address(0)) {
            ISafeGuard(guard).checkTransaction(
                t.to, t.value, data, t.operation, t.safeTxGas, t.baseGas, t.gasPrice, t.gasToken, t.refundReceiver, signatures, msg.sender
            );
        }
        // A call gets 63/64 of what is there, and 2500 are needed for what follows it.
        // Sums wrap, as they did when the real one was compiled.
        unchecked {
            uint256 least = (t.safeTxGas * 64) / 63;
            if (least < t.safeTxGas + 2500) {
                least = t.safeTxGas + 2500;
            }
            require(gasleft() >= least + 500, "GS010");
        }
        uint256 payment = 0;
        {
            uint256 before = gasleft();
            success = execute(t.to, t.value, data, t.operation, t.gasPrice == 0 ? gasleft() - 2500 : t.safeTxGas);
            uint256 used = before > gasleft() ? before - gasleft() : 0;
            // Without safeTxGas and refund nobody would be any the wiser for a failure.
            require(success || t.safeTxGas != 0 || t.gasPrice != 0, "GS013");
            if (t.gasPrice > 0) {
                payment = pay(used, t.baseGas, t.gasPrice, t.gasToken, t.refundReceiver);
            }
        }
        if (success) {
            emit ExecutionSuccess(hash, payment);
        } else {
            emit ExecutionFailure(hash, payment);
        }
        if (guard != address(0)) {
            ISafeGuard(guard).checkAfterExecution(hash, success);
        }
    }

    function execute(address to, uint256 value, bytes memory data, uint8 operation, uint256 txGas) internal returns (bool ok) {
        if (operation == 1) {
            assembly {
                ok := delegatecall(txGas, to, add(data, 0x20), mload(data), 0, 0)
            }
        } else {
            assembly {
                ok := call(txGas, to, value, add(data, 0x20), mload(data), 0, 0)
            }
        }
    }

    function pay(uint256 used, uint256 baseGas, uint256 gasPrice, address token, address payable receiver)
        internal
        returns (uint256 payment)
    {
        if (receiver == address(0)) {
            receiver = payable(tx.origin);
        }
        if (token == address(0)) {
            payment = mul(add(used, baseGas), gasPrice < tx.gasprice ? gasPrice : tx.gasprice);
            require(receiver.send(payment), "GS011");
            return payment;
        }
        payment = mul(add(used, baseGas), gasPrice);
        bytes memory call = abi.encodeWithSignature("transfer(address,uint256)", receiver, payment);
        (bool ok, bytes memory result) = token.call{gas: gasleft() - 10000}(call);
        require(ok && (result.length == 0 || (result.length == 32 && uint256(bytes32(result)) != 0)), "GS012");
    }

    // What overflows is refused without a word.

    function add(uint256 a, uint256 b) internal pure returns (uint256 c) {
        unchecked {
            c = a + b;
        }
        require(c >= a);
    }

    function mul(uint256 a, uint256 b) internal pure returns (uint256 c) {
        unchecked {
            c = a * b;
            require(a == 0 || c / a == b);
        }
    }

    // Signatures.

    function checkSignatures(bytes32 hash, bytes memory data, bytes memory signatures) public view {
        require(threshold > 0, "GS001");
        checkNSignatures(hash, data, signatures, threshold);
    }

    function checkNSignatures(bytes32 hash, bytes memory data, bytes memory signatures, uint256 needed) public view {
        require(signatures.length >= mul(needed, 65), "GS020");
        address last = address(0);
        for (uint256 i = 0; i < needed; i++) {
            (bytes32 r, bytes32 s, uint8 v) = split(signatures, i);
            address owner;
            if (v == 0) {
                require(keccak256(data) == hash, "GS027");
                owner = address(uint160(uint256(r)));
                checkContract(owner, uint256(s), needed, data, signatures);
            } else if (v == 1) {
                owner = address(uint160(uint256(r)));
                require(msg.sender == owner || approvedHashes[owner][hash] != 0, "GS025");
            } else if (v > 30) {
                owner = ecrecover(keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash)), v - 4, r, s);
            } else {
                owner = ecrecover(hash, v, r, s);
            }
            require(owner > last && owners[owner] != address(0) && owner != SENTINEL, "GS026");
            last = owner;
        }
    }

    function checkContract(address owner, uint256 at, uint256 needed, bytes memory data, bytes memory signatures) internal view {
        require(at >= needed * 65, "GS021");
        require(add(at, 32) <= signatures.length, "GS022");
        uint256 size;
        bytes memory signature;
        assembly {
            signature := add(add(signatures, at), 0x20)
            size := mload(signature)
        }
        require(add(add(at, 32), size) <= signatures.length, "GS023");
        require(ISignatureValidator(owner).isValidSignature(data, signature) == MAGIC, "GS024");
    }

    function split(bytes memory signatures, uint256 i) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly {
            let at := add(signatures, mul(65, i))
            r := mload(add(at, 0x20))
            s := mload(add(at, 0x40))
            v := byte(0, mload(add(at, 0x60)))
        }
    }

    function approveHash(bytes32 hash) external {
        require(owners[msg.sender] != address(0), "GS030");
        approvedHashes[msg.sender][hash] = 1;
        emit ApproveHash(hash, msg.sender);
    }

    // Hashes.

    function getChainId() public view returns (uint256) {
        return block.chainid;
    }

    function domainSeparator() public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, block.chainid, this));
    }

    function encodeTransactionData(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 number
    ) public view returns (bytes memory) {
        require(operation <= 1);
        return preimage(
            Transaction(to, value, operation, safeTxGas, baseGas, gasPrice, gasToken, payable(refundReceiver)), data, number
        );
    }

    function getTransactionHash(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 number
    ) public view returns (bytes32) {
        require(operation <= 1);
        return keccak256(
            preimage(Transaction(to, value, operation, safeTxGas, baseGas, gasPrice, gasToken, payable(refundReceiver)), data, number)
        );
    }

    function preimage(Transaction memory t, bytes calldata data, uint256 number) internal view returns (bytes memory) {
        bytes memory first = abi.encode(TX_TYPEHASH, t.to, t.value, keccak256(data), t.operation, t.safeTxGas);
        bytes memory rest = abi.encode(t.baseGas, t.gasPrice, t.gasToken, t.refundReceiver, number);
        return abi.encodePacked(bytes2(0x1901), domainSeparator(), keccak256(bytes.concat(first, rest)));
    }

    // Owners.

    function isOwner(address a) public view returns (bool) {
        return a != SENTINEL && owners[a] != address(0);
    }

    function getThreshold() public view returns (uint256) {
        return threshold;
    }

    function getOwners() public view returns (address[] memory list) {
        list = new address[](ownerCount);
        address a = owners[SENTINEL];
        for (uint256 i = 0; a != SENTINEL; i++) {
            list[i] = a;
            a = owners[a];
        }
    }

    function addOwnerWithThreshold(address owner, uint256 needed) public authorized {
        checkNewOwner(owner);
        owners[owner] = owners[SENTINEL];
        owners[SENTINEL] = owner;
        ownerCount++;
        emit AddedOwner(owner);
        if (threshold != needed) {
            changeThreshold(needed);
        }
    }

    function removeOwner(address prev, address owner, uint256 needed) public authorized {
        require(ownerCount - 1 >= needed, "GS201");
        checkOldOwner(prev, owner);
        owners[prev] = owners[owner];
        owners[owner] = address(0);
        ownerCount--;
        emit RemovedOwner(owner);
        if (threshold != needed) {
            changeThreshold(needed);
        }
    }

    function swapOwner(address prev, address old, address owner) public authorized {
        checkNewOwner(owner);
        checkOldOwner(prev, old);
        owners[owner] = owners[old];
        owners[prev] = owner;
        owners[old] = address(0);
        emit RemovedOwner(old);
        emit AddedOwner(owner);
    }

    function checkNewOwner(address owner) internal view {
        require(owner != address(0) && owner != SENTINEL && owner != address(this), "GS203");
        require(owners[owner] == address(0), "GS204");
    }

    function checkOldOwner(address prev, address owner) internal view {
        require(owner != address(0) && owner != SENTINEL, "GS203");
        require(owners[prev] == owner, "GS205");
    }

    function changeThreshold(uint256 needed) public authorized {
        require(needed <= ownerCount, "GS201");
        require(needed >= 1, "GS202");
        threshold = needed;
        emit ChangedThreshold(needed);
    }

    // Modules, which do as they like.

    function enableModule(address module) public authorized {
        require(module != address(0) && module != SENTINEL, "GS101");
        require(modules[module] == address(0), "GS102");
        modules[module] = modules[SENTINEL];
        modules[SENTINEL] = module;
        emit EnabledModule(module);
    }

    function disableModule(address prev, address module) public authorized {
        require(module != address(0) && module != SENTINEL, "GS101");
        require(modules[prev] == module, "GS103");
        modules[prev] = modules[module];
        modules[module] = address(0);
        emit DisabledModule(module);
    }

    function isModuleEnabled(address module) public view returns (bool) {
        return module != SENTINEL && modules[module] != address(0);
    }

    function execTransactionFromModule(address to, uint256 value, bytes memory data, uint8 operation)
        public
        returns (bool success)
    {
        require(msg.sender != SENTINEL && modules[msg.sender] != address(0), "GS104");
        success = execute(to, value, data, operation, type(uint256).max);
        if (success) {
            emit ExecutionFromModuleSuccess(msg.sender);
        } else {
            emit ExecutionFromModuleFailure(msg.sender);
        }
    }

    function getModulesPaginated(address start, uint256 pageSize) external view returns (address[] memory list, address next) {
        require(start == SENTINEL || isModuleEnabled(start), "GS105");
        require(pageSize > 0, "GS106");
        list = new address[](pageSize);
        uint256 n = 0;
        next = modules[start];
        while (next != address(0) && next != SENTINEL && n < pageSize) {
            list[n++] = next;
            next = modules[next];
        }
        if (next != SENTINEL && n > 0) {
            next = list[n - 1]; // where the next page starts
        }
        assembly {
            mstore(list, n)
        }
    }

    // Guard and fallback handler.

    function setGuard(address guard) external authorized {
        // 0xe6d7a83a: checkTransaction and checkAfterExecution
        require(guard == address(0) || ISafeGuard(guard).supportsInterface(0xe6d7a83a), "GS300");
        save(GUARD_SLOT, bytes32(uint256(uint160(guard))));
        emit ChangedGuard(guard);
    }

    function setFallbackHandler(address handler) public authorized {
        internalSetFallbackHandler(handler);
        emit ChangedFallbackHandler(handler);
    }

    function internalSetFallbackHandler(address handler) internal {
        require(handler != address(this), "GS400");
        save(HANDLER_SLOT, bytes32(uint256(uint160(handler))));
    }

    function load(bytes32 slot) internal view returns (bytes32 value) {
        assembly {
            value := sload(slot)
        }
    }

    function save(bytes32 slot, bytes32 value) internal {
        assembly {
            sstore(slot, value)
        }
    }

    // Looking in.

    function getStorageAt(uint256 offset, uint256 length) public view returns (bytes memory result) {
        result = new bytes(length * 32);
        for (uint256 i = 0; i < length; i++) {
            assembly {
                mstore(add(add(result, 0x20), mul(i, 0x20)), sload(add(offset, i)))
            }
        }
    }

    /// Runs code with the powers of the account, and undoes it: the outcome is in
    /// the revert's data, as success, length and result.
    function simulateAndRevert(address target, bytes calldata data) external {
        (bool ok, bytes memory result) = target.delegatecall(data);
        bytes memory all = abi.encodePacked(uint256(ok ? 1 : 0), result.length, result);
        assembly {
            revert(add(all, 0x20), mload(all))
        }
    }

    function finish(bool ok, bytes memory result) internal pure {
        assembly {
            switch ok
            case 0 { revert(add(result, 0x20), mload(result)) }
            default { return(add(result, 0x20), mload(result)) }
        }
    }
}
