#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../bytes.hpp"
#include "shim_hv/core/data_plane.hpp"
#include "shim_hv/core/shim_hv.hpp"

// Two ends and the wire between them, under a clock that only the test moves.

namespace sluice::test {

using shim_hv::Action;
using shim_hv::AgreedLimits;
using shim_hv::Bind;
using shim_hv::DeviceDown;
using shim_hv::DeviceState;
using shim_hv::DeviceUp;
using shim_hv::FlowAllocated;
using shim_hv::FlowDeallocated;
using shim_hv::FlowFailed;
using shim_hv::FlowHandle;
using shim_hv::FlowRequested;
using shim_hv::FlowState;
using shim_hv::Grant;
using shim_hv::Outbox;
using shim_hv::Params;
using shim_hv::SendControl;
using shim_hv::SetEpochs;
using shim_hv::ShimHv;
using shim_hv::Unbind;
using shim_hv::Verdict;
using shim_hv::VerdictKind;
using shim_hv::VmpiData;
using shim_hv::VmpiDrop;
using rina::AppName;
using rina::Reason;
namespace vmpi = rina::vmpi;

struct End {
    explicit End(const Params& p)
        : shim(p),
          data({p.profile, p.max_channels, p.max_sdu_rx, p.max_sdu_tx, p.min_frame_tx}) {}

    ShimHv shim;
    VmpiData data;
    Outbox out;
    std::deque<Bytes> wire;           // frames on their way to the other end
    std::vector<std::string> events;  // in words, in order
    std::vector<FlowHandle> requested;
    std::map<std::uint32_t, std::uint32_t> channel_of;  // bound flows
    std::vector<std::pair<std::uint32_t, Bytes>> received;  // cookie and SDU
    std::vector<VmpiDrop> drops;

    void carry_out() {
        for (Action& action : out.actions) std::visit([this](auto& a) { apply(a); }, action);
        out.clear();
    }
    void apply(SetEpochs& a) { data.set_epochs(a); }
    void apply(Bind& a) {
        data.bind(a);
        channel_of[a.flow.value] = a.channel;
    }
    void apply(Grant& a) { data.grant(a); }
    void apply(Unbind& a) {
        data.unbind(a);
        channel_of.erase(a.flow.value);
    }
    void apply(SendControl& a) { wire.push_back(std::move(a.frame)); }
    void apply(FlowRequested& a) {
        requested.push_back(a.flow);
        events.push_back("requested " + a.source.to_string() + " " + a.destination.to_string());
    }
    void apply(FlowAllocated&) { events.push_back("allocated"); }
    void apply(FlowFailed& a) { events.push_back("failed: " + std::string(to_string(a.reason))); }
    void apply(FlowDeallocated& a) {
        events.push_back("deallocated: " + std::string(to_string(a.reason)));
    }
    void apply(DeviceUp&) { events.push_back("up"); }
    void apply(DeviceDown& a) { events.push_back("down: " + std::string(to_string(a.reason))); }

    std::vector<std::string> take_events() { return std::exchange(events, {}); }
};

class Pair {
  public:
    static Params params(vmpi::Role role, std::uint64_t seed,
                         vmpi::Profile profile = vmpi::Profile::sluice) {
        Params p;
        p.profile = profile;
        p.role = role;
        p.max_channels = profile == vmpi::Profile::irati ? 8 : 16;
        p.window = 16;
        p.seed = seed;
        return p;
    }
    explicit Pair(vmpi::Profile profile = vmpi::Profile::sluice)
        : Pair(params(vmpi::Role::backend, 1, profile), params(vmpi::Role::frontend, 2, profile)) {}
    Pair(const Params& a_params, const Params& b_params) : a(a_params), b(b_params) {}

    void link_up() {
        a.shim.link_up(now, a.out);
        b.shim.link_up(now, b.out);
        settle();
    }

    // Delivers whatever is on the wires, and what that causes, until both are silent.
    void settle() {
        a.carry_out();
        b.carry_out();
        for (int rounds = 0; rounds < 10000; ++rounds) {
            credit_out(a);
            credit_out(b);
            if (!a.wire.empty()) {
                deliver(a, b);
            } else if (!b.wire.empty()) {
                deliver(b, a);
            } else {
                return;
            }
        }
        throw std::runtime_error("the two ends never fall silent");
    }

    // Moves the clock from deadline to deadline; what is due is delivered before the next.
    void advance(Duration by) {
        const Instant end = now + by;
        for (;;) {
            Instant next = earlier(a.shim.next_deadline(), b.shim.next_deadline());
            next = earlier(next, earlier(a.data.next_deadline(), b.data.next_deadline()));
            if (next > end) break;
            now = std::max(now, next);
            a.shim.on_timeout(now, a.out);
            b.shim.on_timeout(now, b.out);
            settle();
        }
        now = end;
    }

    void deliver(End& from, End& to) {
        const Bytes frame = std::move(from.wire.front());
        from.wire.pop_front();
        if (lose && lose(frame)) return;
        inject(to, frame);
    }

    void inject(End& to, const Bytes& frame) {
        const Verdict v =
            to.data.classify(frame.data(), static_cast<std::uint32_t>(frame.size()));
        const std::span<const std::byte> body = std::span(frame).subspan(
            std::min<std::size_t>(4, frame.size()));
        if (v.kind == VerdictKind::drop) {
            to.drops.push_back(v.reason);
        } else if (v.kind == VerdictKind::data) {
            to.received.emplace_back(v.cookie, Bytes(body.begin(), body.begin() + v.sdu_len));
            to.data.on_consumed(v.channel, v.sdu_len);
        } else if (to.data.is_credit(body)) {
            const VmpiDrop drop = to.data.on_credit_message(body);
            if (drop != VmpiDrop::none) to.drops.push_back(drop);
        } else {
            to.shim.on_control(now, body, to.out);
        }
        to.carry_out();
    }

    void credit_out(End& end) {
        std::array<VmpiData::CreditFrame, 4> frames;
        const std::size_t count = end.data.collect_due(now, frames);
        for (std::size_t i = 0; i < count; ++i)
            end.wire.emplace_back(frames[i].bytes.begin(),
                                  frames[i].bytes.begin() + frames[i].size);
    }

    Result<FlowHandle> allocate(End& end, const char* source, const char* destination,
                                std::uint32_t cookie) {
        auto flow = end.shim.allocate(now, *AppName::parse(source), *AppName::parse(destination),
                                      cookie, end.out);
        end.carry_out();
        return flow;
    }
    void accept(End& end, FlowHandle flow, std::uint32_t cookie) {
        if (!end.shim.accept(now, flow, cookie, end.out))
            throw std::runtime_error("no such request");
        end.carry_out();
    }
    void deallocate(End& end, FlowHandle flow) {
        if (!end.shim.deallocate(now, flow, end.out)) throw std::runtime_error("no such flow");
        end.carry_out();
    }

    VmpiData::Submit send(End& end, FlowHandle flow, const Bytes& sdu) {
        const std::uint32_t channel = end.channel_of.at(flow.value);
        const auto size = static_cast<std::uint32_t>(sdu.size());
        const auto result = end.data.submit(channel, size, now);
        if (result != VmpiData::Submit::ok) return result;
        Bytes frame(end.data.frame_bytes(size));
        std::copy(sdu.begin(), sdu.end(), frame.begin() + 4);
        end.data.seal(frame.data(), channel, size);
        end.wire.push_back(std::move(frame));
        return result;
    }

    // A flow from one end to the other, accepted: the handles at the initiator and the responder.
    std::pair<FlowHandle, FlowHandle> open(End& from, End& to, const char* destination,
                                           std::uint32_t cookie) {
        const auto flow = allocate(from, "client", destination, cookie);
        if (!flow) throw std::runtime_error(flow.error().message);
        settle();
        const FlowHandle offered = to.requested.back();
        accept(to, offered, cookie + 1000);
        settle();
        return {*flow, offered};
    }

    End a;
    End b;
    Instant now = Instant{1000000000};
    std::function<bool(const Bytes&)> lose;
};

inline bool is_control(const Bytes& frame, vmpi::Type type) {
    return frame.size() > 4 && vmpi::load_le32(frame.data()) == 0 &&
           frame[4] == static_cast<std::byte>(type);
}

}  // namespace sluice::test
