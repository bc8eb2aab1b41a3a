// Package service offers a room of signers on loopback as the part of the Safe
// Transaction Service API that existing tools use, so that they work unchanged.
package service
