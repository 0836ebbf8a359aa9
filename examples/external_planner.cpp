// A system under test in C++: keeps its lane, and brakes for whoever is ahead. One line in, one line out.
// g++ -O2 -std=c++17 -o planner examples/external_planner.cpp
// gauntlet benchmark --sut external:./planner --adversary rule --scenes 4
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

// All numbers of "key", however they are nested.
std::vector<double> numbers(const std::string& line, const std::string& key) {
    std::vector<double> found;
    size_t at = line.find("\"" + key + "\": ") + key.size() + 4;
    int depth = 0;
    do {
        depth += (line[at] == '[') - (line[at] == ']');
        char* end;
        double value = std::strtod(&line[at], &end);
        if (end != &line[at]) { found.push_back(value); at = end - &line[0]; } else { ++at; }
    } while (depth > 0 && at < line.size());
    return found;
}

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        if (line.find("\"type\": \"step\"") == std::string::npos) {
            std::puts(line.find("\"type\": \"hello\"") == std::string::npos ? "{}" : "{\"protocol\": 1, \"name\": \"cpp\", \"view\": true}");
        } else {
            const auto ego = numbers(line, "ego"), route = numbers(line, "route"), agents = numbers(line, "agents");
            const double speed = std::hypot(ego[3], ego[4]), c = std::cos(ego[2]), s = std::sin(ego[2]);
            double steering = 0, throttle = 0.1 * (10 - speed);
            for (size_t i = route.size(); i >= 2; i -= 2) {  // x, y; the last that stays is the first beyond 6 m
                const double x = route[i - 2] - ego[0], y = route[i - 1] - ego[1], along = x * c + y * s;
                if (along > 6) steering = 3 * std::atan2(y * c - x * s, along);
            }
            for (size_t i = 0; i + 4 < agents.size(); i += 5) {  // x, y, heading, vx, vy
                const double x = agents[i] - ego[0], y = agents[i + 1] - ego[1], along = x * c + y * s;
                if (along > 0 && along < 6 + speed && std::fabs(y * c - x * s) < 2) throttle = -1;
            }
            std::printf("{\"action\": [%f, %f]}\n", steering, throttle);
        }
        std::fflush(stdout);
    }
}
