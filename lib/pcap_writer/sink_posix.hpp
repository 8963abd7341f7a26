#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pcap_writer/sink.hpp"

namespace sluice::pcap {

// A file, or standard output when the path is "-". A closed pipe raises SIGPIPE unless the thread
// blocks it or the process ignores it.
class PosixSink final : public Sink {
  public:
    // Creates or empties the file. Captures show what others sent, so the file is its owner's
    // (0600) unless the group is to read it (0640).
    static Result<std::unique_ptr<PosixSink>> open(const std::string& path,
                                                   bool group_readable = false);
    ~PosixSink() override;
    PosixSink(const PosixSink&) = delete;
    PosixSink& operator=(const PosixSink&) = delete;

    Written write(std::span<const Bytes> pieces) override;
    Result<> truncate(std::uint64_t size) override;
    Result<> close() override;
    const std::string& name() const noexcept override { return name_; }

  private:
    PosixSink(int fd, bool owned, std::string name)
        : fd_(fd), owned_(owned), name_(std::move(name)) {}

    int fd_;
    bool owned_;  // standard output is not ours to close
    std::string name_;
};

// A whole file, for Reader; a file longer than bytes_max is refused.
Result<std::vector<std::byte>> load_file(const std::string& path, std::size_t bytes_max);

}  // namespace sluice::pcap
