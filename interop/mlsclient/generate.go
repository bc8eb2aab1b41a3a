// Package mlsclient is the gRPC service by which the MLS working group's test
// runner drives an MLS client, generated from mls_client.proto.
package mlsclient

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative mls_client.proto"
