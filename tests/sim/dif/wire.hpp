#pragma once

#include "medium.hpp"

namespace sluice::sim {

// A DIF of two nodes over one link: what a shim over a cable is. Frames meet the link model; the
// allocation of flows does not, as it is a shim's business (see tests of the shims for theirs).
class Wire final : public Medium {
  public:
    Wire(Env& env, std::string dif, const link_model::Config& config);

    const std::string& dif() const override { return dif_; }
    Provider& end(std::size_t side) override { return ends_[side]; }
    void set_config(const link_model::Config& config) override;
    // Loudly: flows end at both sides.
    void cut(std::size_t a, std::size_t b, bool silently) override;
    void mend(std::size_t a, std::size_t b) override;
    bool is_up(std::size_t, std::size_t) const override { return is_up(); }
    void power_off(std::size_t side, bool silently) override;
    void power_on(std::size_t) override {}

    std::uint64_t frames = 0, bytes = 0;

  private:
    bool is_up() const noexcept { return up_ && !silent_; }

    struct Flow {
        FlowUser* user = nullptr;
        PortId peer{};
        bool is_open = false;
        bool wants_room = false;
    };
    class End final : public Provider {
      public:
        const std::string& dif() const override { return wire->dif_; }
        void register_name(FlowUser& user, const rina::AppName& name) override;
        void unregister_name(const rina::AppName& name) override;
        Result<> allocate(FlowUser& user, const rina::AppName& local, const rina::AppName& remote,
                          const mgmt::FlowSpec& spec, std::uint32_t cookie) override;
        void accept(FlowUser& user, PortId flow) override;
        void deallocate(PortId flow) override;
        bool write(PortId flow, const Bytes& sdu) override;
        void forget(FlowUser& user) override;

        Wire* wire = nullptr;
        std::size_t side = 0;
        std::map<std::string, FlowUser*> names;
        std::map<PortId, Flow> flows;
        std::uint32_t next_flow = 1;
        link_model::LinkModel model;
    };
    void connect(std::size_t from, FlowUser& user, const rina::AppName& local,
                 const rina::AppName& remote, std::uint32_t cookie);
    void hang_up(std::size_t side, PortId flow);

    Env& env_;
    std::string dif_;
    bool up_ = true, silent_ = false;
    End ends_[2];
};

}  // namespace sluice::sim
