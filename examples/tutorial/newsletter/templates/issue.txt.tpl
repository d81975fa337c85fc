{{ issue.text }}

--
To leave: {{ leave }}
