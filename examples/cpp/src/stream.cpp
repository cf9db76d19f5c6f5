#include "stream.hpp"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <stdexcept>

#include "datastream.grpc.pb.h"

namespace {

namespace wire = cyxcloud::datastream;
using Clock = std::chrono::steady_clock;

/** Batches hold up to 32 MiB of items; gRPC refuses messages above 4 MiB unless told otherwise. */
constexpr int MESSAGE_MAX_BYTES = 48 * 1024 * 1024;

/** @return bytes of the items, all of which have the hash of their file. */
uint64_t check_items(const wire::BatchResponse& batch, const Manifest& manifest) {
    const std::string where = "Batch " + std::to_string(batch.batch_index());
    if (batch.item_indices_size() != batch.items_size() || batch.items_size() == 0)
        throw std::runtime_error(where + " does not say which items it holds.");
    uint64_t bytes = 0;
    for (int i = 0; i < batch.items_size(); ++i) {
        const Hash expected = manifest.hash_of(batch.item_indices(i));
        const Hash actual = blake3(batch.items(i));
        if (actual != expected)
            throw std::runtime_error(where + ": item " + std::to_string(batch.item_indices(i)) + " has the hash " +
                                     to_hex(actual) + ", not " + to_hex(expected) + ".");
        bytes += batch.items(i).size();
    }
    return bytes;
}

std::runtime_error failed(const std::string& what, const grpc::Status& status) {
    return std::runtime_error(what + " failed: " + status.error_message() + " (code " +
                              std::to_string(status.error_code()) + ")");
}

/** Says that a batch and all before it are done with. */
wire::AckBatchesRequest acknowledgement_of(const StreamRequest& stream, const wire::BatchResponse& batch) {
    wire::AckBatchesRequest request;
    request.set_dataset_id(stream.dataset);
    request.set_access_token(stream.token);
    request.set_stream_id(batch.stream_id());
    request.set_epoch(batch.epoch());
    request.set_lease(batch.lease());
    request.set_batch_index(batch.batch_index());
    request.set_transcript_head(batch.transcript_head());
    return request;
}

void acknowledge(wire::DataStreamService::Stub& stub, const wire::AckBatchesRequest& request) {
    // A batch from the companion's cache is nothing that the gateway sent.
    if (request.lease() == 0) return;
    wire::AckBatchesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub.AckBatches(&context, request, &response);
    if (!status.ok()) throw failed("AckBatches", status);
}

}  // namespace

void stream_epoch(const StreamRequest& stream, const Manifest& manifest,
                  const std::function<void(const BatchReport&)>& on_batch) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(MESSAGE_MAX_BYTES);
    // On this machine only: beyond it a companion takes TLS and a secret.
    const auto channel = grpc::CreateCustomChannel(stream.companion, grpc::InsecureChannelCredentials(), arguments);
    const auto stub = wire::DataStreamService::NewStub(channel);

    wire::StreamBatchesRequest request;
    request.set_dataset_id(stream.dataset);
    request.set_access_token(stream.token);
    request.set_batch_size(stream.batch_size);
    request.set_shuffle(stream.shuffle);
    grpc::ClientContext context;
    const auto reader = stub->StreamBatches(&context, request);

    wire::BatchResponse batch;
    wire::AckBatchesRequest acknowledgement;
    bool is_complete = false;
    uint64_t next = 0;
    for (auto started = Clock::now(); reader->Read(&batch); started = Clock::now()) {
        if (batch.batch_index() != next) throw std::runtime_error("Batch " + std::to_string(next) + " did not come.");
        const uint64_t bytes = check_items(batch, manifest);
        const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
        on_batch({next, batch.total_batches(), static_cast<uint64_t>(batch.items_size()), bytes, seconds});
        acknowledgement = acknowledgement_of(stream, batch);
        is_complete = batch.is_last();
        ++next;
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) throw failed("StreamBatches", status);
    if (!is_complete) throw std::runtime_error("The stream ended before its last batch.");
    acknowledge(*stub, acknowledgement);
}
