#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "base/rng.hpp"
#include "rina/rlite_name.hpp"
#include "shim_eth/core/shim_eth.hpp"

// Two Ethernet shims on a link that loses, repeats, delays and damages frames, with users who do
// whatever they may. Held to: each allocation has exactly one end, no event is about a flow that is
// none, data comes for the flow that the sender meant, and nothing is left when all is quiet.

using namespace sluice;
using namespace sluice::shim_eth;

namespace {

using Bytes = std::vector<std::byte>;
const char* const kNames[] = {"a", "b"};

struct Frame {
    Instant at;
    int to;
    Bytes bytes;
};

struct Side {
    Outbox out;
    Shim shim;
    std::set<std::uint32_t> pending, waiting, open;
    explicit Side(const Config& config) : shim(config, out) {}
};

Config config_of(int side) {
    Config config;
    config.mac = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(side + 1)};
    return config;
}

class World {
  public:
    explicit World(std::uint64_t seed)
        : rng_(seed), loss_(0.3 * static_cast<double>(rng_.below(3))) {
        for (int i : {0, 1}) {
            sides_[i].shim.set_link(now_, true);
            REQUIRE(sides_[i].shim.register_app(name(i)));
        }
    }

    void run() {
        for (int step = 0; step < 400; ++step) {
            act(static_cast<int>(rng_.below(2)));
            pass(Duration::milliseconds(static_cast<std::int64_t>(rng_.below(1500))));
        }
        settle();
    }
    unsigned allocated = 0, failed = 0, delivered = 0;

  private:
    static rina::AppName name(int side) { return *rina::parse_rlite_name(kNames[side]); }

    void act(int i) {
        Side& side = sides_[i];
        switch (rng_.below(6)) {
            case 0: {
                const auto flow = side.shim.allocate(now_, name(i), name(1 - i), 7);
                if (flow) side.pending.insert(flow->value);
                break;
            }
            case 1:
                if (!side.open.empty() && rng_.chance(0.5)) {
                    const std::uint32_t flow = *side.open.begin();
                    side.open.erase(flow);
                    REQUIRE(side.shim.deallocate(now_, FlowHandle{flow}));
                }
                break;
            case 2:
                if (rng_.chance(0.1)) {
                    side.shim.set_link(now_, false);
                    carry_out(i);
                    side.shim.set_link(now_, true);
                }
                break;
            default:
                for (const std::uint32_t flow : side.open) send(i, flow);
        }
        carry_out(i);
    }

    void send(int i, std::uint32_t flow) {
        const Header header = sides_[i].shim.header_for(FlowHandle{flow});
        REQUIRE(header.size == 14);
        Bytes frame(header.view().begin(), header.view().end());
        frame.resize(frame.size() + 20, static_cast<std::byte>(i));
        transmit(i, std::move(frame));
    }

    void transmit(int from, Bytes frame) {
        for (std::uint64_t copies = rng_.chance(0.1) ? 2 : 1; copies > 0; --copies) {
            if (rng_.chance(loss_)) continue;
            Bytes bytes = frame;
            // Where it cannot become a frame that makes sense and is another one.
            if (rng_.chance(0.1)) bytes.resize(rng_.below(bytes.size()));
            const auto delay = static_cast<std::int64_t>(rng_.below(50'000));
            line_.push_back({now_ + Duration::microseconds(delay), 1 - from, std::move(bytes)});
        }
    }

    void carry_out(int i) {
        Side& side = sides_[i];
        while (!side.out.empty()) {
            const std::vector<Action> actions = std::move(side.out.actions);
            side.out.clear();
            for (const Action& action : actions) {
                if (const auto* frame = std::get_if<SendFrame>(&action)) {
                    transmit(i, frame->bytes);
                } else if (const auto* up = std::get_if<FlowAllocated>(&action)) {
                    REQUIRE(side.pending.erase(up->flow.value) == 1);
                    REQUIRE(up->cookie == 7);
                    side.open.insert(up->flow.value);
                    ++allocated;
                } else if (const auto* no = std::get_if<FlowFailed>(&action)) {
                    const bool ours = side.pending.erase(no->flow.value) == 1;
                    const bool theirs = side.waiting.erase(no->flow.value) == 1;
                    REQUIRE((ours || theirs));
                    REQUIRE_FALSE(no->text.empty());
                    ++failed;
                } else if (const auto* asked = std::get_if<FlowRequested>(&action)) {
                    REQUIRE(asked->local == name(i));
                    REQUIRE(asked->remote == name(1 - i));
                    answer(side, asked->flow);
                }
            }
        }
    }

    void answer(Side& side, FlowHandle flow) {
        const std::uint64_t what = rng_.below(4);
        if (what == 0) {
            REQUIRE(side.shim.refuse(now_, flow));
        } else if (what == 1) {
            side.waiting.insert(flow.value);  // the user is asleep
        } else {
            REQUIRE(side.shim.accept(now_, flow));
            side.open.insert(flow.value);
        }
    }

    void receive(const Frame& frame) {
        Side& side = sides_[frame.to];
        const Verdict verdict = side.shim.on_frame(now_, frame.bytes);
        carry_out(frame.to);
        if (verdict.kind == Verdict::Kind::data) {
            REQUIRE(side.open.contains(verdict.flow.value));
            REQUIRE(verdict.offset + verdict.length == frame.bytes.size());
            ++delivered;
        }
        REQUIRE((verdict.kind == Verdict::Kind::drop) == (verdict.drop != Drop::none));
    }

    void pass(Duration span) {
        const Instant until = now_ + span;
        for (;;) {
            Instant next = Instant::never();
            for (const Side& side : sides_) next = earlier(next, side.shim.next_deadline());
            std::size_t first = line_.size();
            for (std::size_t i = 0; i < line_.size(); ++i)
                if (line_[i].at <= next && (first == line_.size() || line_[i].at < line_[first].at))
                    first = i;
            if (first != line_.size()) next = line_[first].at;
            if (next > until) break;
            now_ = std::max(now_, next);
            if (first != line_.size()) {
                const Frame frame = line_[first];
                line_.erase(line_.begin() + static_cast<std::ptrdiff_t>(first));
                receive(frame);
            } else {
                for (int i : {0, 1}) {
                    sides_[i].shim.on_timeout(now_);
                    carry_out(i);
                    // A timer that has run out is gone, or time would stand still.
                    REQUIRE(sides_[i].shim.next_deadline() > now_);
                }
            }
        }
        now_ = until;
    }

    void settle() {
        pass(Duration::seconds(30));
        for (Side& side : sides_) {
            REQUIRE(side.pending.empty());
            REQUIRE(side.waiting.empty());
            for (const std::uint32_t flow : side.open)
                REQUIRE(side.shim.deallocate(now_, FlowHandle{flow}));
            side.open.clear();
        }
        pass(Duration::seconds(300));
        for (const Side& side : sides_) {
            REQUIRE(side.shim.flows() == 0);
            REQUIRE(side.shim.cached() == 0);
            REQUIRE(side.shim.peers() <= 1);
            REQUIRE(side.shim.next_deadline().is_never());
        }
    }

    Rng rng_;
    double loss_;
    Instant now_{1};
    Side sides_[2] = {Side(config_of(0)), Side(config_of(1))};
    std::vector<Frame> line_;
};

}  // namespace

TEST_CASE("two Ethernet shims over a bad link: every allocation ends and nothing leaks") {
    unsigned allocated = 0, failed = 0, delivered = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        INFO("seed " << seed);
        World world(seed);
        world.run();
        allocated += world.allocated;
        failed += world.failed;
        delivered += world.delivered;
    }
    // It was about something.
    CHECK(allocated > 1000);
    CHECK(failed > 100);
    CHECK(delivered > 5000);
}
