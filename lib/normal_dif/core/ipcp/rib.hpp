#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "rina/cdap.hpp"

namespace sluice::mgmt {

// The objects of an IPC process that others may speak to, by name. An object "/a/b" also answers
// for "/a/b/<anything>", as rlite's handler look-up has it.
class Rib {
  public:
    using Handler = std::function<void(const rina::CdapMessage&)>;
    enum class Outcome : std::uint8_t { handled, unknown_object, wrong_class, wrong_operation };

    // `classes`: several objects may share a name. One handler for each pair.
    void add(std::string name, std::string obj_class, std::vector<rina::OpCode> operations,
             std::string help, Handler handler) {
        objects_[std::move(name)][std::move(obj_class)] = {std::move(operations), std::move(help),
                                                           std::move(handler)};
    }

    Outcome dispatch(const rina::CdapMessage& m) const {
        auto at = objects_.find(m.obj_name);
        if (at == objects_.end()) {
            const std::size_t slash = m.obj_name.rfind('/');
            if (slash == std::string::npos || slash == 0) return Outcome::unknown_object;
            at = objects_.find(std::string_view(m.obj_name).substr(0, slash));
        }
        if (at == objects_.end()) return Outcome::unknown_object;
        auto object = at->second.find(m.obj_class);
        // A parameter's class is the parameter's own name.
        if (object == at->second.end()) object = at->second.find(kAnyClass);
        if (object == at->second.end()) return Outcome::wrong_class;
        for (const rina::OpCode op : object->second.operations)
            if (op == m.op) {
                object->second.handler(m);
                return Outcome::handled;
            }
        return Outcome::wrong_operation;
    }

    struct View {
        std::string_view name, obj_class, help;
    };
    std::vector<View> objects() const {
        std::vector<View> out;
        for (const auto& [name, classes] : objects_)
            for (const auto& [obj_class, object] : classes)
                out.push_back({name, obj_class, object.help});
        return out;
    }
    static constexpr std::string_view kAnyClass = "*";

  private:
    struct Object {
        std::vector<rina::OpCode> operations;
        std::string help;
        Handler handler;
    };
    std::map<std::string, std::map<std::string, Object, std::less<>>, std::less<>> objects_;
};

}  // namespace sluice::mgmt
