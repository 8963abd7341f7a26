#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <span>

#include "dataplane/stage.hpp"
#include "stages/params.hpp"
#include "stages/pcap_file.hpp"

namespace sluice::stages {

// Sends the packets of a capture file, which is held in memory. Each start of forwarding begins
// with the first packet.
class PcapIn : public dp::Stage {
  public:
    struct Options {
        std::uint64_t loop = 1;  // rounds; 0: no end
        bool original_pace = false;
    };
    static constexpr std::uint32_t kPacketMax = 65535;

    PcapIn(PcapPackets packets, const Options& options, rte_mempool* pool) noexcept;

    static dp::KindInfo kind();
    static std::span<const ParamDesc> params() noexcept;
    static Result<std::unique_ptr<dp::Stage>> make(const Values& values, rte_mempool* pool);

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;

    enum Count : unsigned { kBytes, kRounds, kPoolEmpty };

  private:
    bool over() const noexcept { return options_.loop != 0 && round_ >= options_.loop; }
    // When the next packet goes, at its own pace.
    Instant due() const noexcept;
    rte_mbuf* copy_of(std::span<const std::byte> data) noexcept;

    const PcapPackets packets_;
    const Options options_;
    rte_mempool* const pool_;
    bool started_ = false;
    Instant round_start_{};
    std::size_t next_ = 0;
    std::uint64_t round_ = 0;
};

}  // namespace sluice::stages
