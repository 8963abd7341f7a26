#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "checkers.hpp"
#include "link_model/link_model.hpp"
#include "options.hpp"
#include "shim_hv/core/data_plane.hpp"
#include "shim_hv/core/shim_hv.hpp"
#include "trace.hpp"

// Two nodes, the VMPI device between them, and time. The nodes run the product's ShimHv and
// VmpiData; rings, applications and trouble are models. One thread, one queue of events, no clock.

namespace sluice::sim {

struct SimFrame {
    std::vector<std::byte> bytes;
    std::optional<PduToken> token;  // of data that an application sent
    bool is_clean = false;          // nothing but a ring lay under it
    std::uint32_t ring_epoch = 0;
    bool owns_buffer = true;  // a duplicate made by the link does not
};

// One direction of the device: an ordered ring with so many buffers.
struct SimRing {
    std::uint32_t capacity = 0;
    std::uint32_t buffers_free = 0;
    std::uint32_t under_way = 0;
    std::uint32_t epoch = 0;
    link_model::LinkModel model;
    std::deque<SimFrame> waiting;               // arrived, but the receiver does not look
    std::deque<std::vector<std::byte>> backlog;  // control that waits for room
    std::vector<std::vector<std::byte>> samples;
};

struct Endpoint {
    enum class State : std::uint8_t { none, pending, open, closed };
    State state = State::none;
    std::uint32_t node = 0;
    shim_hv::FlowHandle flow{};
    std::uint32_t channel = 0;  // 0: not bound
    std::uint32_t limit = 0;    // longest SDU that may be sent
    bool reads_slowly = false;
    std::deque<PduToken> held;   // written, not on the ring yet
    std::deque<PduToken> inbox;  // arrived, not read yet
    std::uint64_t inbox_units = 0;
    std::uint32_t to_send = 0;
    std::uint32_t next_sequence = 0;
};

struct Connection {
    std::uint32_t id = 0;
    std::string destination;
    Endpoint ends[2];  // 0 asked, 1 was asked
};

struct SimNode {
    std::uint32_t index = 0;
    std::uint32_t life = 0;  // counts restarts; what was under way inside of a former one is lost
    std::unique_ptr<shim_hv::ShimHv> shim;
    std::unique_ptr<shim_hv::VmpiData> data;
    shim_hv::Outbox out;
    bool stalled = false;
    std::set<std::string> names;
    std::map<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>> flows;  // to connection, side
};

class World {
  public:
    World(const Options& options, Trace& trace);
    // Nothing, or what was found.
    std::optional<Failure> run();
    std::uint64_t sdus_delivered() const noexcept { return delivered_; }

  private:
    using Action = std::function<void()>;

    // world.cpp: time, phases, trouble
    void at(Instant when, Action action);
    void after(Duration delay, Action action) { at(now_ + delay, std::move(action)); }
    void run_until(Instant end);
    Instant random_instant(Instant from, Instant to);
    void plan_trouble();
    void plan_work();
    void start_node(std::uint32_t n);
    void restart_node(std::uint32_t n);
    void take_link_down();
    void bring_link_up(Duration delay);
    void stall(std::uint32_t n, Duration duration);
    void unstall(std::uint32_t n);
    void inject_garbage(std::uint32_t to);
    void end_trouble();
    void thin_out();
    void check_convergence();
    void check_rest();

    // world_node.cpp: rings, lcore and control thread of a node
    void enter(std::uint32_t n);
    bool push(std::uint32_t from, SimFrame frame);
    void push_control(std::uint32_t from, std::vector<std::byte> frame);
    void launch(std::uint32_t from, SimFrame frame);
    void arrive(std::uint32_t from, SimFrame frame);
    void receive(std::uint32_t n, SimFrame frame);
    void receive_data(SimNode& node, const shim_hv::Verdict& verdict, const SimFrame& frame);
    void give_back(std::uint32_t from, const SimFrame& frame, bool was_dropped);
    void lose(const SimFrame& frame);
    void poll_lcore(std::uint32_t n);
    void carry_out(std::uint32_t n);
    void on_lcore(std::uint32_t n, const shim_hv::Action& action);
    void on_event(std::uint32_t n, const shim_hv::Action& action);

    // world_apps.cpp: model applications
    Connection& connection_of(std::uint32_t id) { return *connections_[id]; }
    Endpoint* endpoint_of(std::uint32_t n, shim_hv::FlowHandle flow, Connection** connection,
                          std::uint32_t* side);
    std::uint32_t start_allocation(std::uint32_t n, const std::string& destination);
    void on_requested(std::uint32_t n, const shim_hv::FlowRequested& event);
    void answer(std::uint32_t n, std::uint32_t id, bool accepts);
    void on_allocated(std::uint32_t n, const shim_hv::FlowAllocated& event);
    void on_ended(std::uint32_t n, shim_hv::FlowHandle flow);
    void write_some(std::uint32_t id, std::uint32_t side);
    void write_sdu(Connection& connection, std::uint32_t side, std::uint32_t size);
    void flush(Connection& connection, std::uint32_t side);
    bool send_front(Connection& connection, std::uint32_t side);
    void read_all(Connection& connection, std::uint32_t side);
    void close(Connection& connection, std::uint32_t side);
    void hang_up(std::uint32_t id, std::uint32_t side);
    std::uint32_t draw_size(std::uint32_t limit);

    Options options_;
    Trace& trace_;
    Rng rng_;
    Instant now_{};
    std::map<std::pair<std::int64_t, std::uint64_t>, Action> queue_;
    std::uint64_t next_event_ = 0;
    std::uint64_t steps_ = 0;
    bool trouble_ = true;
    bool link_is_up_ = false;
    std::uint32_t link_changes_ = 0;
    std::uint64_t delivered_ = 0;
    SimNode nodes_[2];
    SimRing rings_[2];  // indexed by the sender
    std::vector<std::unique_ptr<Connection>> connections_;

    Verdicts verdicts_;
    TokenLedger ledger_{verdicts_};
    DeliveryChecker delivery_{verdicts_};
    SizeChecker sizes_{verdicts_};
    QueueChecker queues_{verdicts_};
    FlowChecker flow_checker_{verdicts_};
    RingChecker ring_checker_{verdicts_};
};

inline constexpr std::uint32_t kMaxPending = 4;

}  // namespace sluice::sim
