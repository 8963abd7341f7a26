#pragma once

#include "shim_end.hpp"
#include "shim_hv/core/data_plane.hpp"
#include "shim_hv/core/shim_hv.hpp"

namespace sluice::sim {

// A VMPI device between a host (station 0) and its guest (station 1): two rings with so many
// buffers each. Rings and time are a model; ShimHv and VmpiData are the product's.
class ShimHvLink final : public Medium {
  public:
    // Memory neither loses nor repeats nor reorders anything; what lies under a VMPI device
    // elsewhere might.
    ShimHvLink(Env& env, std::string dif, const link_model::Config& config, bool is_lossy);
    ~ShimHvLink() override;

    const std::string& dif() const override { return dif_; }
    Provider& end(std::size_t side) override;
    void set_config(const link_model::Config& config) override;
    // Loudly, the device goes away. Silently, both sides stop looking into their rings.
    void cut(std::size_t a, std::size_t b, bool silently) override;
    void mend(std::size_t a, std::size_t b) override;
    bool is_up(std::size_t a, std::size_t b) const override;
    void power_off(std::size_t side, bool silently) override;
    void power_on(std::size_t side) override;
    // The guest is not scheduled for a while.
    void disturb() override;
    std::string report() const override;

  private:
    class Side;
    struct Ring {  // by who writes into it
        std::size_t capacity = 0, free = 0;
        std::uint64_t epoch = 0;
        link_model::LinkModel model;
        std::deque<PduToken> waiting;  // in front of a reader that does not look
        std::deque<Bytes> backlog;     // control messages that wait for room
    };

    bool has_room(std::size_t from) const noexcept { return rings_[from].free > kForControl; }
    // False: no room. What data must leave is for control.
    bool push(std::size_t from, Bytes frame, bool is_control);
    void arrive(std::size_t from, std::uint64_t epoch, PduToken token);
    void read(std::size_t from, PduToken token);
    void flush_rings();
    void set_reading(std::size_t side, bool reads);
    void tell_link();

    static constexpr std::size_t kForControl = 2;

    Env& env_;
    std::string dif_;
    bool is_lossy_;
    bool is_cut_ = false, is_linked_ = false;
    bool reads_[2] = {true, true};
    bool is_dark_[2] = {true, true};  // off, and the other side sees it
    std::unique_ptr<Side> sides_[2];
    Ring rings_[2];
};

}  // namespace sluice::sim
