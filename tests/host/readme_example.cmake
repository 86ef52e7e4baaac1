# Writes the first C++ example of a document into a file that can be compiled:
# cmake -DDOCUMENT=… -DOUTPUT=… -P readme_example.cmake
file(READ ${DOCUMENT} text)
string(FIND "${text}" "```cpp" begin)
if(begin EQUAL -1)
    message(FATAL_ERROR "${DOCUMENT} has no C++ example")
endif()
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "\n" begin)
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "```" end)
string(SUBSTRING "${text}" 0 ${end} example)
cmake_path(GET DOCUMENT FILENAME name)
file(WRITE ${OUTPUT} "// From ${name}.\nnamespace inflight {\nnamespace {\n${example}\n} // namespace\n} // namespace inflight\n")
