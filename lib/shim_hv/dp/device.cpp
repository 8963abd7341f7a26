#include "shim_hv/dp/device.hpp"

#include <bit>
#include <cstring>

#include "base/log.hpp"

namespace sluice::shim_hv {

Device::Device(const Options& options, dp::Runtime& runtime, VmpiLowLevel& low_level,
               VmpiStage& stage, FlowUsers& users)
    : options_(options),
      runtime_(runtime),
      low_level_(low_level),
      stage_(stage),
      users_(users),
      shim_(options.params) {}

Device::~Device() {
    for (const dp::Mail& mail : unsent_)
        if (mail.type == static_cast<std::uint32_t>(VmpiMail::send))
            rte_pktmbuf_free(static_cast<rte_mbuf*>(mail.pointer));
}

void Device::poll(Instant now) {
    flush_mails();
    Outbox out;
    const std::uint64_t changes = low_level_.link_changes();
    const bool up = low_level_.link_up();
    if (changes != link_changes_ || up != link_up_) {
        link_changes_ = changes;
        // Gone and back between two looks is still another peer.
        if (link_up_) shim_.link_down(now, out);
        link_up_ = up;
        if (up) shim_.link_up(now, out);
        log::info("vmpi", "{}: link {}", name(), up ? "up" : "down");
    }
    const Instant seen = stage_.last_frame();
    if (seen > Instant::zero()) shim_.note_frame_seen(seen);
    if (now >= shim_.next_deadline()) shim_.on_timeout(now, out);
    carry_out(out);
    reap();
}

Instant Device::next_deadline() const noexcept { return shim_.next_deadline(); }

void Device::on_punt(Instant now, const dp::PuntItem& item) {
    Outbox out;
    const rte_mbuf* m = item.packet;
    const auto* bytes = rte_pktmbuf_mtod(m, const std::byte*);
    // Control messages fit into one buffer; of a longer frame the rest is padding.
    if (m->data_len >= rina::vmpi::kHeaderBytes)
        shim_.on_control(now,
                         {bytes + rina::vmpi::kHeaderBytes,
                          m->data_len - std::size_t{rina::vmpi::kHeaderBytes}},
                         out);
    rte_pktmbuf_free(item.packet);
    carry_out(out);
}

Result<> Device::register_app(const rina::AppName& app) { return shim_.register_app(app); }

Result<> Device::unregister_app(Instant now, const rina::AppName& app) {
    Outbox out;
    auto result = shim_.unregister_app(now, app, out);
    carry_out(out);
    return result;
}

Result<FlowHandle> Device::allocate(Instant now, const rina::AppName& source,
                                    const rina::AppName& destination, std::uint32_t cookie) {
    Outbox out;
    auto result = shim_.allocate(now, source, destination, cookie, out);
    carry_out(out);
    return result;
}

Result<> Device::accept(Instant now, FlowHandle flow, std::uint32_t cookie) {
    Outbox out;
    auto result = shim_.accept(now, flow, cookie, out);
    carry_out(out);
    return result;
}

Result<> Device::refuse(Instant now, FlowHandle flow, rina::Reason reason) {
    Outbox out;
    auto result = shim_.refuse(now, flow, reason, out);
    carry_out(out);
    return result;
}

Result<> Device::deallocate(Instant now, FlowHandle flow) {
    Outbox out;
    auto result = shim_.deallocate(now, flow, out);
    carry_out(out);
    return result;
}

// In order, also when a user answers an event at once: what that adds comes after.
void Device::carry_out(Outbox& out) {
    waiting_.push_back(std::move(out));
    if (carrying_out_) return;
    carrying_out_ = true;
    while (!waiting_.empty()) {
        const Outbox now_doing = std::move(waiting_.front());
        waiting_.pop_front();
        for (const Action& action : now_doing.actions) {
            std::visit(
                [this](const auto& a) {
                    using T = std::decay_t<decltype(a)>;
                    if constexpr (std::is_same_v<T, FlowRequested>) {
                        users_.on_flow_requested(*this, a);
                    } else if constexpr (std::is_same_v<T, FlowAllocated>) {
                        users_.on_flow_allocated(*this, a);
                    } else if constexpr (std::is_same_v<T, FlowFailed>) {
                        users_.on_flow_failed(*this, a);
                    } else if constexpr (std::is_same_v<T, FlowDeallocated>) {
                        users_.on_flow_deallocated(*this, a);
                    } else if constexpr (std::is_same_v<T, DeviceUp>) {
                        log::info("vmpi", "{}: peer is up, SDUs of up to {} bytes out and {} in",
                                  name(), a.limits.max_sdu_tx, a.limits.max_sdu_rx);
                    } else if constexpr (std::is_same_v<T, DeviceDown>) {
                        log::info("vmpi", "{}: peer is gone: {}", name(),
                                  rina::to_string(a.reason));
                    } else {
                        perform(a);
                    }
                },
                action);
        }
    }
    carrying_out_ = false;
}

void Device::post(dp::Mail mail) {
    mail.to = &stage_;
    ++posted_;
    if (unsent_.empty() && runtime_.post(mail)) return;
    unsent_.push_back(mail);
}

void Device::flush_mails() {
    while (!unsent_.empty() && runtime_.post(unsent_.front())) unsent_.pop_front();
}

void Device::perform(const SetEpochs& action) {
    dp::Mail mail;
    mail.type = static_cast<std::uint32_t>(VmpiMail::set_epochs);
    auto copy = std::make_unique<SetEpochs>(action);
    mail.pointer = copy.get();
    post(mail);
    epochs_.emplace_back(posted_, std::move(copy));
}

void Device::perform(const Bind& action) {
    auto gate = std::make_unique<dp::FlowGate>();
    const AgreedLimits& limits = shim_.limits();
    gate->has_credits = limits.credit_unit != 0;
    gate->unit_shift =
        gate->has_credits ? static_cast<unsigned>(std::countr_zero(limits.credit_unit)) : 0;
    gate->header = rina::vmpi::kHeaderBytes;
    dp::FlowGate* const raw = gate.get();
    gates_[raw].gate = std::move(gate);
    gate_of_channel_[action.channel] = raw;
    dp::Mail mail;
    mail.type = static_cast<std::uint32_t>(VmpiMail::bind);
    mail.arg = action.channel;
    mail.words[0] = action.generation | std::uint64_t{action.flow.value} << 32;
    mail.words[1] = action.cookie;
    mail.words[2] = action.window;
    mail.pointer = raw;
    post(mail);
    users_.on_flow_bound(*this,
                         {action.flow, action.cookie, action.channel, limits.max_sdu_tx, raw});
}

void Device::perform(const Grant& action) {
    dp::Mail mail;
    mail.type = static_cast<std::uint32_t>(VmpiMail::grant);
    mail.arg = action.channel;
    mail.words[0] = action.generation;
    post(mail);
}

void Device::perform(const Unbind& action) {
    dp::Mail mail;
    mail.type = static_cast<std::uint32_t>(VmpiMail::unbind);
    mail.arg = action.channel;
    mail.words[0] = action.generation;
    post(mail);
    const auto found = gate_of_channel_.find(action.channel);
    if (found == gate_of_channel_.end()) return;
    gates_[found->second].unbound_at = posted_;
    gate_of_channel_.erase(found);
}

void Device::perform(const SendControl& action) {
    rte_mbuf* const m = rte_pktmbuf_alloc(options_.pool);
    // Without a buffer it is lost, like any message; the state machine repeats what matters.
    if (m == nullptr) return;
    char* const at = rte_pktmbuf_append(m, static_cast<std::uint16_t>(action.frame.size()));
    if (at == nullptr) {
        rte_pktmbuf_free(m);
        return;
    }
    std::memcpy(at, action.frame.data(), action.frame.size());
    dp::Mail mail;
    mail.type = static_cast<std::uint32_t>(VmpiMail::send);
    mail.pointer = m;
    post(mail);
}

void Device::released(dp::FlowGate* gate) {
    const auto found = gates_.find(gate);
    if (found != gates_.end()) found->second.released = true;
    reap();
}

void Device::reap() {
    const std::uint64_t acked = stage_.acked();
    while (!epochs_.empty() && epochs_.front().first <= acked) epochs_.pop_front();
    std::erase_if(gates_, [acked](const auto& item) {
        const Gate& g = item.second;
        return g.released && g.unbound_at != 0 && g.unbound_at <= acked;
    });
}

}  // namespace sluice::shim_hv
