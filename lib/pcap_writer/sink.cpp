#include "pcap_writer/sink.hpp"

namespace sluice::pcap {

BufferedSink::BufferedSink(Sink& sink, std::size_t capacity) : sink_(sink), capacity_(capacity) {
    buffer_.reserve(capacity);
}

Result<> BufferedSink::append(Bytes bytes) {
    if (bytes.size() <= capacity_ - buffer_.size()) {
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
        return {};
    }
    // What does not fit goes out behind what is there, without being copied first.
    const Bytes pieces[] = {buffer_, bytes};
    Written w = sink_.write(pieces);
    buffer_.clear();
    if (w.error) return fail(std::move(*w.error));
    return {};
}

Result<> BufferedSink::flush() {
    if (buffer_.empty()) return {};
    const Bytes pieces[] = {buffer_};
    Written w = sink_.write(pieces);
    buffer_.clear();
    if (w.error) return fail(std::move(*w.error));
    return {};
}

}  // namespace sluice::pcap
