#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/stage.hpp"
#include "stages/gen_frame.hpp"
#include "stages/params.hpp"

namespace sluice::stages {

// Sends numbered Ethernet frames of one size (gen_frame.hpp), at a rate, as many as are asked for.
// Each start of forwarding sends `count` again; the numbers go on, so that a sink sees one stream.
class TxGen : public dp::Stage {
  public:
    struct Options {
        std::uint32_t size = 64;  // of the frame without its checksum; at least kGenHeaderSize
        std::uint64_t count = 0;  // 0: no end
        RateValue rate{};
        GenHeader header{};
    };
    // The pool's mbufs have room for a frame.
    TxGen(const Options& options, rte_mempool* pool);

    static dp::KindInfo kind();
    static std::span<const ParamDesc> params() noexcept;
    static Options options_of(const Values& values);

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;

    enum Count : unsigned { kBytes, kPoolEmpty, kGivenUp };

  private:
    unsigned due(Instant now) noexcept;
    unsigned make(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept;
    Instant next() const noexcept;

    // Packets that a lcore which came late may send at once to catch up.
    static constexpr std::uint64_t kCatchUp = 1024;

    const Options options_;
    rte_mempool* const pool_;
    std::vector<std::byte> frame_;
    std::uint64_t rate_num_ = 0;  // packets a second: num / den; num == 0: no limit
    std::uint64_t rate_den_ = 1;
    bool started_ = false;
    Instant since_{};          // start of pacing
    std::uint64_t paced_ = 0;  // sent since then
    std::uint64_t sent_ = 0;   // since forwarding started
    std::uint64_t seq_ = 0;
    std::uint64_t given_up_ = 0;  // not yet counted
};

}  // namespace sluice::stages
