# Writes OUTPUT, the source of build_version(); only when it changes, so that nothing else is rebuilt.
cmake_minimum_required(VERSION 3.22)
execute_process(COMMAND git describe --always --dirty --tags WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                RESULT_VARIABLE failed)
if(failed OR commit STREQUAL "")
  set(text "${VERSION}")
else()
  set(text "${VERSION} (${commit})")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT
"// Made by engine/report/version.cmake.
#include \"engine/report/version.h\"

const char* krait::build_version() {
  return \"@text@\";
}
" @ONLY)
