#pragma once

#include <deque>

#include "medium.hpp"
#include "rina/names.hpp"

namespace sluice::sim {

// One node's end of a shim DIF: names, flows and their users, and what has come for a flow that its
// user does not know yet. What is decided is decided by the product's core in the derived class;
// this carries it out, as the drivers around the core do.
class ShimEnd : public Provider {
  public:
    ShimEnd(Env& env, std::string dif) : env_(env), dif_(std::move(dif)) {}
    ShimEnd(const ShimEnd&) = delete;
    ShimEnd& operator=(const ShimEnd&) = delete;

    const std::string& dif() const override { return dif_; }
    void register_name(FlowUser& user, const rina::AppName& name) override;
    void unregister_name(const rina::AppName& name) override;
    Result<> allocate(FlowUser& user, const rina::AppName& local, const rina::AppName& remote,
                      const mgmt::FlowSpec& spec, std::uint32_t cookie) override;
    void accept(FlowUser& user, PortId flow) override;
    void deallocate(PortId flow) override;
    bool write(PortId flow, const Bytes& sdu) override;
    void forget(FlowUser& user) override;

    bool is_on() const noexcept { return is_on_; }
    void power_on();
    // What the core knew is gone, and so are the buffers that waited here.
    void power_off();

  protected:
    ~ShimEnd() = default;  // power_off() is the derived class's to call

    // ---- the core; numbers of flows are its handles ----
    virtual void core_start() = 0;
    virtual void core_stop() = 0;
    virtual void core_register(const rina::AppName& name) = 0;
    virtual void core_unregister(const rina::AppName& name) = 0;
    virtual Result<PortId> core_allocate(const rina::AppName& local, const rina::AppName& remote,
                                         std::uint32_t cookie) = 0;
    virtual Result<> core_accept(PortId flow) = 0;
    virtual void core_refuse(PortId flow) = 0;
    virtual void core_deallocate(PortId flow) = 0;
    virtual void core_timeout() = 0;
    virtual Instant core_deadline() const = 0;
    virtual void carry_out() = 0;  // all that is in the outbox
    // Is there room for the longest SDU? False: wake() will say when to ask again.
    virtual bool has_room(PortId flow) = 0;
    virtual void send(PortId flow, const Bytes& sdu) = 0;

    // ---- what the core wants the user to know; it hears of it a little later ----
    void on_requested(PortId flow, const rina::AppName& local, const rina::AppName& remote);
    void on_allocated(PortId flow, std::uint32_t cookie);
    void on_failed(PortId flow, std::uint32_t cookie, std::string text);
    void on_down(PortId flow);
    // An SDU, for the user if it knows the flow, else for later; of a flow that was not even
    // asked for yet if the core wants it held.
    void take(PortId flow, Bytes sdu);
    void hold(PortId flow, Bytes sdu);

    // After every call of the core.
    void settle();
    void wake(PortId flow);
    bool waits_for_room(PortId flow) const;
    std::vector<PortId> flows_that_wait() const;
    // Not if the node has been switched off meanwhile.
    void later(Duration d, std::function<void()> act);

    // Between the thread that owns the core and its users.
    static constexpr Duration kEvent = Duration::microseconds(20);

    Env& env_;

  private:
    struct Flow {
        FlowUser* user = nullptr;
        bool is_known = false;  // to its user
        bool wants_room = false;
        std::deque<PduToken> held;
    };
    void hand_up(PortId flow);
    void drop_held(Flow& flow);
    void arm();

    std::string dif_;
    std::map<std::string, FlowUser*> names_;
    std::map<PortId, Flow> flows_;
    bool is_on_ = false;
    std::uint64_t life_ = 0;
    Instant armed_ = Instant::never();
};

}  // namespace sluice::sim
