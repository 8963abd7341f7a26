#pragma once

#include "ipc_process.hpp"
#include "medium.hpp"
#include "scenario.hpp"

namespace sluice::sim {

class EthSwitch;
class World;

std::string ipcp_name(unsigned level, std::size_t node);

// The applications of one node. What they send says whose it is, so that a wrong byte, a wrong
// flow, a repetition and a gap show.
class Apps final : public FlowUser {
  public:
    Apps(World& world, std::size_t node) : world_(world), node_(node) {}
    void requested(Provider& dif, PortId flow, const rina::AppName& local,
                   const rina::AppName& remote) override;
    void allocated(Provider& dif, PortId flow, std::uint32_t cookie,
                   const mgmt::FlowTerms& terms) override;
    void failed(Provider& dif, std::uint32_t cookie, const std::string& why) override;
    void closed(Provider& dif, PortId flow) override;
    void arrived(Provider& dif, PortId flow, Bytes sdu) override;
    void writable(Provider& dif, PortId flow) override;

    std::map<PortId, std::pair<std::uint32_t, std::size_t>> ends;  // connection and side

  private:
    World& world_;
    std::size_t node_;
};

struct Connection {
    enum class State : std::uint8_t { none, asked, open, over };
    std::uint32_t id = 0;
    bool is_reliable = false, in_order = false;
    std::uint32_t sdu_bytes_max = 0;  // what does not fit one PDU needs delimiting
    std::uint32_t sdu_bytes = 0;      // of each; 0: any
    bool has_delimiting = false;
    std::uint64_t bandwidth_bps = 0;
    Duration gap{};
    struct End {
        std::size_t node = 0;
        State state = State::none;
        std::uint64_t life = 0;  // of the node
        PortId flow{};
        std::uint32_t to_send = 0, sent = 0;
        std::uint32_t next = 0;       // expected of the peer, at a reliable flow
        std::set<std::uint32_t> seen;
        bool is_writing = false;
    } ends[2];
    std::string failure;
};

class World {
  public:
    World(const Scenario& scenario, bool prints);
    ~World();
    // Nothing, or the checker and what it found.
    std::optional<std::pair<std::string, std::string>> run();

    std::uint64_t digest() const noexcept { return env_.trace.digest(); }
    // What the nodes counted, for who looks for a fault.
    std::string report() const;
    std::size_t planned() const noexcept { return planned_; }
    struct Totals {
        std::uint64_t delivered = 0, allocated = 0, refused = 0, messages = 0, steps = 0;
        double converged_s = 0;
    } totals;

  private:
    friend class Apps;
    struct Node {
        std::size_t index = 0;
        std::uint64_t life = 0;
        bool is_up = false;
        std::vector<std::unique_ptr<IpcProcess>> levels;
        std::unique_ptr<Apps> apps;
        Instant asked_at{};      // enrollment of the lowest level
        std::vector<Instant> upper_asked;
        IpcProcess& top() { return *levels.back(); }
    };
    struct Link {
        std::size_t a = 0, b = 0;
        Medium* medium = nullptr;
        std::size_t at_a = 0, at_b = 1;  // the nodes' stations there
        bool is_shared = false;          // there are others than these two
        Instant asked_at{};
        bool is_up() const { return medium->is_up(at_a, at_b); }
    };

    void make_topology();
    // `kind`: of the scenario's `lower`.
    void add_medium(std::string kind, const std::vector<std::size_t>& nodes);
    std::unique_ptr<Medium> make_medium(const std::string& kind,
                                        const std::vector<std::size_t>& nodes);
    std::unique_ptr<Medium> make_segment(std::string name, const std::vector<std::size_t>& nodes);
    std::uint32_t mtu() const;
    // And the station at each.
    std::vector<std::pair<Medium*, std::size_t>> media_of(std::size_t n) const;
    void start_node(std::size_t n);
    void crash_node(std::size_t n, bool comes_back = true);
    void supervise();
    void supervise_node(Node& node);
    void plan(Duration from, Duration to, std::function<void()> act);
    void plan_trouble();
    void equip(IpcProcessConfig& config, std::size_t node) const;
    void plan_rarer_trouble(Duration begin, Duration end);
    void watch_cut(Duration how_long);
    void watch_end(std::uint32_t id, std::size_t side);
    void check_withdrawn();
    void check_departure();
    void check_storm();
    Bytes forge_malformed(Node& villain);
    void plan_work();
    void plan_tunings(Duration begin, Duration end);
    void cut(std::size_t link, bool silently, Duration how_long);
    void attack();
    bool is_at_edge(std::size_t n) const;
    Bytes pose();
    rina::CdapMessage lie(std::uint64_t kind, const Node& villain, const Node& victim);
    Bytes forge(Node& villain);
    void calm();
    link_model::Config config_of(bool troubled) const;

    void open_flow(std::size_t from, std::size_t to, bool reliable, std::uint32_t sdus);
    void write_some(std::uint32_t id, std::size_t side);
    void end_of(std::uint32_t id, std::size_t side, const std::string& why);
    void leave(std::uint32_t id, std::size_t side);
    void on_sdu(std::uint32_t id, std::size_t side, const Bytes& sdu);

    bool is_converged(std::string* why);
    bool level_is_converged(unsigned level, std::string* why);
    bool check_paths(unsigned level, std::string* why);
    void check_flows();
    void check_rest();
    void run_until(Instant end);

    Scenario scenario_;
    Env env_;
    std::vector<Node> nodes_;
    std::vector<std::unique_ptr<EthSwitch>> switches_;
    std::vector<std::unique_ptr<Medium>> media_;
    std::vector<Link> links_;
    std::vector<std::unique_ptr<Connection>> connections_;
    std::size_t planned_ = 0;
    Instant start_{};
    Instant cut_at_{}, mended_at_{};
    std::uint64_t messages_at_ = 0;  // when the second began
};

}  // namespace sluice::sim
