#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "capture/lane.hpp"

namespace sluice::capture {

// The records of a lane that feeds a merge, one by one, out of its blocks.
class FeedReader {
  public:
    explicit FeedReader(BlockPool& pool) : pool_(pool) {}

    struct Record {
        std::int64_t wall_ns = 0;
        std::uint32_t captured = 0;
        std::uint32_t original = 0;
        const std::byte* data = nullptr;  // until pop()
    };
    // The next record; nullptr if none is there as a whole.
    const Record* head();
    void pop() noexcept;

  private:
    std::size_t copy(std::byte* to, std::size_t size) const noexcept;
    void skip(std::size_t size) noexcept;

    BlockPool& pool_;
    std::deque<Block*> blocks_;
    std::uint32_t at_ = 0;  // in the first
    bool have_ = false;
    Record record_;
    std::vector<std::byte> scratch_;
};

// Several lanes into one file, in the order of their stamps. A record waits until no earlier one
// can come from any other lane, but at most for the window: a lane that is silent (or whose lcore
// hangs) for longer does not hold the others up, and what it then brings late is stamped with the
// time at which the file had come. Lanes of the same port and queue, such as one for what came in
// and one for what went out, are one interface of a pcapng file.
class Merge final : public WriterWork {
  public:
    static constexpr Duration kWindow = Duration::milliseconds(100);

    // `config`: of the file; half of its buffer is for the lanes together. `lanes`: each with port,
    // queue, filter and so on; their file is not used.
    static Result<std::unique_ptr<Merge>> create(const LaneConfig& config,
                                                 std::vector<LaneConfig> lanes,
                                                 const WallClock& clock);
    ~Merge() override;

    Lane& lane(std::size_t i) noexcept { return *feeds_[i].lane; }
    std::size_t lanes() const noexcept { return feeds_.size(); }

    bool write(Instant now) noexcept override;
    bool wants_thread() const noexcept override { return writer_->io_blocks(); }
    Result<> prepare_for_lcore() override { return writer_->start_keeper(); }

    // ---- control thread ----
    void rotate() noexcept { packer_.rotate(); }
    bool over() const noexcept { return packer_.over() || writer_->failed_for_good(); }
    Result<> close();
    // Sums of all lanes, and what became of them.
    LaneStats stats() const;

  private:
    struct Feed {
        std::unique_ptr<Lane> lane;
        std::unique_ptr<FeedReader> reader;
        std::uint32_t interface_id = 0;
    };

    Merge(const LaneConfig& config, const WallClock& clock, std::unique_ptr<BlockPool> pool,
          std::unique_ptr<BlockWriter> writer, const Packer::Options& packer,
          std::vector<Feed> feeds);
    bool merge(std::int64_t wall_ns, bool all) noexcept;
    void take(Feed& feed) noexcept;
    void give_up() noexcept;
    void totals(unsigned interface_id, PackerTotals& out) const;

    const LaneConfig config_;
    const WallClock& clock_;
    std::vector<Feed> feeds_;
    std::unique_ptr<BlockPool> pool_;
    Packer packer_;
    std::unique_ptr<BlockWriter> writer_;
    std::int64_t last_ns_ = 0;
    dp::Counter lost_, beyond_, restamped_, bytes_, given_up_, merge_cycles_;
    unsigned interfaces_ = 0;
    bool closed_ = false;
};

}  // namespace sluice::capture
